//! Fallible growth of buffers whose size others choose. A failed allocation ends the process, so whatever grows with a peer's data or with
//! traffic reserves here and handles the refusal.

use std::hint::black_box;

use crate::error::{Error, Result};

/// Makes room for `bytes` more: by doubling, or where there is no memory for that by what is needed.
#[inline]
pub(crate) fn reserve(buf: &mut Vec<u8>, bytes: usize) -> Result<()> {
    if buf.capacity() - buf.len() < bytes && buf.try_reserve(bytes).is_err() {
        return buf.try_reserve_exact(bytes).map_err(|_| Error::NoMemory(bytes));
    }
    Ok(())
}

/// Appends `data`; without memory for it nothing changes.
#[inline]
pub(crate) fn append(buf: &mut Vec<u8>, data: &[u8]) -> Result<()> {
    reserve(buf, data.len())?;
    buf.extend_from_slice(data);
    Ok(())
}

/// Whether so many bytes can be allocated now, in one piece: for code that cannot handle a failed allocation.
pub(crate) fn is_available(bytes: usize) -> bool {
    let mut probe: Vec<u8> = Vec::new();
    let available = probe.try_reserve_exact(bytes).is_ok();
    // Without this the compiler may leave out the allocation and assume that it succeeds.
    black_box(&probe);
    available
}
