//! While a peer of the original is waited for, or waits itself, the broker's thread sleeps.

use std::process::Command;
use std::time::Duration;

use daemoneye_eventbus_core::broker::BrokerConfig;

use super::{met, translated};
use crate::support::{Bus, Frame, NEW, frame, frame_of, guarded, shut_down};

/// Of the largest frames two have room before they are whole.
const FRAME: usize = 64 * 1024;

/// Runs a test of this module in a process of its own, where no other test works beside it.
fn alone(name: &str, test: impl FnOnce() + Send + 'static) {
    const ALONE: &str = "DAEMONEYE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return guarded(test);
    }
    let (_, module) = module_path!().split_once("::").unwrap();
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{name}")])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

/// What this process has worked in `time`, in which the test itself does nothing.
fn worked_in(time: Duration) -> Duration {
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let behind_the_name = stat.rsplit_once(") ").unwrap().1;
        let of_user_and_system = behind_the_name.split(' ').skip(11).take(2);
        of_user_and_system.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    };
    let before = ticks();
    std::thread::sleep(time);
    // Of 10 ms each.
    Duration::from_millis((ticks() - before) * 10)
}

#[test]
fn the_end_does_not_spin_for_one_that_has_begun_to_read() {
    alone("the_end_does_not_spin_for_one_that_has_begun_to_read", || {
        let bus = Bus::new();
        let mut publisher = bus.connect();
        let mut peer = met(&bus);
        let sent: Vec<_> = (0..3).map(|sequence| frame(NEW, sequence)).collect();
        publisher.send(&sent.concat());
        publisher.flush();
        let broker = bus.broker.clone();
        let end = std::thread::spawn(move || shut_down(&broker, Duration::from_secs(4)));
        // It is left after a second unless it reads by then; and it reads, but only once.
        std::thread::sleep(Duration::from_millis(300));
        let first = loop {
            // Before its first message there may be a `PONG`.
            if let Frame::Message(first) = peer.next() {
                break first;
            }
        };
        assert_eq!(first, translated(&sent[0]));
        std::thread::sleep(Duration::from_millis(1000));
        let worked = worked_in(Duration::from_secs(2));
        assert!(end.join().unwrap().messages > 0);
        assert!(worked < Duration::from_millis(80), "{worked:?}");
    });
}

#[test]
fn it_does_not_spin_for_one_that_waits_for_room() {
    alone("it_does_not_spin_for_one_that_waits_for_room", || {
        let bus = Bus::with(BrokerConfig {
            max_frame: FRAME,
            total_queue_bytes: 1 << 20,
            ..BrokerConfig::default()
        });
        let mut peer = met(&bus);
        let mut publisher = bus.connect();
        // Two have room for their frames, and keep it for half a second; the others have it after them.
        let begun = &frame_of(NEW, 0, FRAME)[..FRAME / 2];
        let before: Vec<_> = std::iter::repeat_with(|| {
            let mut client = bus.connect();
            client.send(begun);
            client
        })
        .take(10)
        .collect();
        bus.settled(|now| now.unfinished_bytes > 2 * FRAME as u64);
        peer.send(begun);
        // Whether there was all to be heard before the first message cannot be said yet.
        publisher.send(&frame(NEW, 1));
        publisher.flush();
        let worked = worked_in(Duration::from_millis(1500));
        assert_eq!(bus.broker.statistics().bus.messages_delivered, 0);
        drop(before);
        assert!(worked < Duration::from_millis(60), "{worked:?}");
    });
}
