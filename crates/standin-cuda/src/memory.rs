//! Memory of the cards. The addresses that are given out are those of no process, so that a program which reads device memory
//! as if it were its own ends as it does with a card.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rungs_standin::faults::is_lost;
use rungs_standin::{asked, misuse, settings};

use crate::contexts::{Current, Handle};
use crate::layout::{Copy2d, DEVICE, HOST, Side};
use crate::status::{INVALID_VALUE, OUT_OF_MEMORY, Status};

/// The first address: no processor's tables reach it.
const FIRST: u64 = 0x00F0_0000_0000_0000;
/// Addresses lie so far apart, and blocks take whole ones of these.
const GRAIN: u64 = 64 << 10;
/// What memory holds that nobody has written to.
const UNWRITTEN: u8 = 0xA5;

pub(crate) type Bytes = Arc<RwLock<Vec<u8>>>;

struct Block {
    card: u32,
    context: Handle,
    bytes: Bytes,
    taken: u64,
}

struct Memory {
    blocks: BTreeMap<u64, Block>,
    next: u64,
    taken: BTreeMap<u32, u64>,
}

fn memory() -> MutexGuard<'static, Memory> {
    static MEMORY: Mutex<Memory> = Mutex::new(Memory {
        blocks: BTreeMap::new(),
        next: FIRST,
        taken: BTreeMap::new(),
    });
    MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives out memory of a card.
pub(crate) fn allocate(current: Current, size: usize) -> Result<u64, Status> {
    if size == 0 {
        return Err(INVALID_VALUE);
    }
    let rounded = (size as u64).next_multiple_of(GRAIN);
    let mut memory = memory();
    let taken = memory.taken.entry(current.card).or_default();
    if *taken + rounded > settings::memory(current.card) {
        asked!("{size} bytes on {}: out of memory", current.card);
        return Err(OUT_OF_MEMORY);
    }
    *taken += rounded;
    let address = memory.next;
    memory.next += rounded + GRAIN;
    let block = Block {
        card: current.card,
        context: current.context,
        bytes: Arc::new(RwLock::new(vec![UNWRITTEN; size])),
        taken: rounded,
    };
    memory.blocks.insert(address, block);
    Ok(address)
}

pub(crate) fn free(address: u64) -> Result<(), Status> {
    let mut memory = memory();
    let Some(block) = memory.blocks.remove(&address) else {
        misuse!("memory at {address:#x} is freed, which was not given out");
        return Err(INVALID_VALUE);
    };
    *memory.taken.entry(block.card).or_default() -= block.taken;
    Ok(())
}

/// Takes back what is left of a context that ends. On a card that is lost, nothing can be given back before.
pub(crate) fn forget(context: Handle, card: u32) {
    let mut memory = memory();
    let left: Vec<u64> = memory
        .blocks
        .iter()
        .filter(|(_, block)| block.context == context)
        .map(|(address, _)| *address)
        .collect();
    for address in &left {
        if let Some(block) = memory.blocks.remove(address) {
            *memory.taken.entry(block.card).or_default() -= block.taken;
        }
    }
    if !left.is_empty() && !is_lost(card) {
        misuse!(
            "context {context:#x} ends with {} blocks of memory",
            left.len()
        );
    }
}

/// Whether an address may be one of a card.
pub(crate) fn is_device(address: u64) -> bool {
    address >= FIRST
}

/// The block of an address, and the place of the address in it.
pub(crate) fn block(address: u64) -> Option<(Bytes, usize)> {
    let memory = memory();
    let (first, block) = memory.blocks.range(..=address).next_back()?;
    let offset = address - first;
    (offset < block.taken).then(|| (Arc::clone(&block.bytes), offset as usize))
}

/// Where bytes are copied from or to.
enum Place {
    Host(*mut u8),
    Device(Bytes, usize),
}

impl Place {
    fn of(side: &Side) -> Option<Self> {
        let skipped = side.y * side.pitch + side.x_bytes;
        match side.kind {
            HOST if !side.host.is_null() => {
                Some(Self::Host(side.host.cast::<u8>().wrapping_add(skipped)))
            }
            DEVICE => {
                block(side.device).map(|(bytes, offset)| Self::Device(bytes, offset + skipped))
            }
            _ => None,
        }
    }

    /// Reads rows of so many bytes, one behind the other.
    fn read(&self, shape: Rows, into: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Host(first) => {
                for row in 0..shape.count {
                    let row = first.wrapping_add(row * shape.pitch);
                    // SAFETY: the caller of the driver gave memory of so many rows.
                    into.extend_from_slice(unsafe { std::slice::from_raw_parts(row, shape.width) });
                }
            }
            Self::Device(bytes, offset) => {
                let bytes = bytes.read().unwrap_or_else(PoisonError::into_inner);
                for row in 0..shape.count {
                    let from = offset + row * shape.pitch;
                    into.extend_from_slice(bytes.get(from..from + shape.width)?);
                }
            }
        }
        Some(())
    }

    fn write(&self, shape: Rows, from: &[u8]) -> Option<()> {
        let rows = from.chunks_exact(shape.width).enumerate();
        match self {
            Self::Host(first) => {
                for (index, row) in rows {
                    let to = first.wrapping_add(index * shape.pitch);
                    // SAFETY: the caller of the driver gave memory of so many rows, which nothing here refers to.
                    unsafe { std::ptr::copy_nonoverlapping(row.as_ptr(), to, row.len()) };
                }
            }
            Self::Device(bytes, offset) => {
                let mut bytes = bytes.write().unwrap_or_else(PoisonError::into_inner);
                for (index, row) in rows {
                    let to = offset + index * shape.pitch;
                    bytes.get_mut(to..to + shape.width)?.copy_from_slice(row);
                }
            }
        }
        Some(())
    }
}

#[derive(Clone, Copy)]
struct Rows {
    pitch: usize,
    width: usize,
    count: usize,
}

/// Copies rows. What lies at no address of the card, or beyond what was given out, is misuse.
pub(crate) fn copy(call: &str, copy: &Copy2d) -> Result<(), Status> {
    let rows = |side: &Side| Rows {
        pitch: side.pitch,
        width: copy.width_bytes,
        count: copy.height,
    };
    if copy.width_bytes == 0 || copy.height == 0 {
        return Ok(());
    }
    if copy.height > 1 && copy.from.pitch.min(copy.to.pitch) < copy.width_bytes {
        misuse!("{call}: rows of {} bytes overlap", copy.width_bytes);
        return Err(INVALID_VALUE);
    }
    let done = Place::of(&copy.from)
        .zip(Place::of(&copy.to))
        .and_then(|(from, to)| {
            let mut bytes = Vec::with_capacity(copy.width_bytes * copy.height);
            from.read(rows(&copy.from), &mut bytes)?;
            to.write(rows(&copy.to), &bytes)
        });
    done.ok_or_else(|| {
        misuse!(
            "{call}: {} rows of {} bytes lie in no memory of the card",
            copy.height,
            copy.width_bytes
        );
        INVALID_VALUE
    })
}

/// One side of a copy without rows.
pub(crate) fn flat(address: u64, device: bool) -> Side {
    Side {
        x_bytes: 0,
        y: 0,
        kind: if device { DEVICE } else { HOST },
        host: address as *mut c_void,
        device: address,
        array: std::ptr::null_mut(),
        pitch: usize::MAX,
    }
}

pub(crate) fn fill(call: &str, address: u64, (value, count): (u8, usize)) -> Result<(), Status> {
    let filled = block(address).and_then(|(bytes, offset)| {
        let mut bytes = bytes.write().unwrap_or_else(PoisonError::into_inner);
        bytes.get_mut(offset..offset + count)?.fill(value);
        Some(())
    });
    filled.ok_or_else(|| {
        misuse!("{call}: {count} bytes lie in no memory of the card");
        INVALID_VALUE
    })
}
