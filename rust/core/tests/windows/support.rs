//! What the tests share: names of their own, a deadline, both ends of a pipe.
use std::future::Future;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use daemoneye_eventbus_core::Result;
use daemoneye_eventbus_core::transport::{Address, ListenOptions, Listener, Sid, Stream, own_sid};

/// A name that no other test, and no earlier run, has used.
pub(crate) fn address() -> Address {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Address::from_instance(&format!("test-{}-{number}", std::process::id())).unwrap()
}

pub(crate) fn sid(text: &str) -> Sid {
    Sid::parse("allowed_sids", text).unwrap()
}

pub(crate) async fn bind(address: &Address) -> Listener {
    try_bind(address).await.unwrap()
}

pub(crate) async fn try_bind(address: &Address) -> Result<Listener> {
    bind_with(address, &ListenOptions::default()).await
}

pub(crate) async fn bind_with(address: &Address, options: &ListenOptions) -> Result<Listener> {
    Listener::prepare(address, options)?.listen().await
}

pub(crate) fn dial(address: &Address) -> Stream {
    Stream::dial(address, &[own_sid().unwrap().clone()]).unwrap()
}

pub(crate) async fn pair() -> (Listener, Stream, Stream) {
    let address = address();
    let listener = bind(&address).await;
    let client = dial(&address);
    let (server, peer) = listener.accept().await.unwrap();
    assert_eq!(peer.pid, Some(std::process::id()));
    (listener, client, server)
}

pub(crate) async fn write_all(stream: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(&[IoSlice::new(bytes)]) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(crate) async fn read(stream: &Stream, most: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; most];
    let readable = stream.readable()?;
    let length = readable.read_with(|| stream.try_read(&mut buffer)).await?;
    buffer.truncate(length);
    Ok(buffer)
}

pub(crate) async fn read_exactly(stream: &Stream, wanted: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < wanted {
        let got = read(stream, wanted - all.len()).await.unwrap();
        assert!(!got.is_empty(), "the end came after {} of {wanted} bytes", all.len());
        all.extend(got);
    }
    all
}

/// Runs on a runtime of its own, under a deadline.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), test)
            .await
            .expect("the test hangs")
    })
}
