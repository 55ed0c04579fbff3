//! Payloads in, boxes out: the few that a plain file has and a CMAF segment has not.

/// Writes a box. Its payload is shorter than 4 GiB less the header.
pub(super) fn boxed(kind: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 8);
    bytes.extend((payload.len() as u32 + 8).to_be_bytes());
    bytes.extend(kind);
    bytes.extend(payload);
    bytes
}

/// Writes a box with a version and flags.
pub(super) fn full(kind: [u8; 4], (version, flags): (u8, u32), payload: &[u8]) -> Vec<u8> {
    let mut whole = ((u32::from(version) << 24) | flags).to_be_bytes().to_vec();
    whole.extend(payload);
    boxed(kind, &whole)
}

/// Puts numbers of 32 bits one after the other.
pub(super) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Version of a box whose times are these: 0 has 32 bits for them, 1 has 64.
pub(super) fn version_for(times: &[u64]) -> u8 {
    u8::from(times.iter().any(|time| *time > u64::from(u32::MAX)))
}

/// A time as a box of that version has it.
pub(super) fn time(version: u8, time: u64) -> Vec<u8> {
    if version == 0 {
        (time as u32).to_be_bytes().to_vec()
    } else {
        time.to_be_bytes().to_vec()
    }
}

/// Writes the box that lists values in runs of equal ones.
pub(super) fn run_box(kind: [u8; 4], version: u8, runs: &[(u32, u32)]) -> Vec<u8> {
    let mut payload = words(&[runs.len() as u32]);
    for (count, value) in runs {
        payload.extend(words(&[*count, *value]));
    }
    full(kind, (version, 0), &payload)
}

/// Adds one value to a list of runs.
pub(super) fn extend_run(runs: &mut Vec<(u32, u32)>, value: u32) {
    match runs.last_mut() {
        Some((count, last)) if *last == value => *count += 1,
        _ => runs.push((1, value)),
    }
}
