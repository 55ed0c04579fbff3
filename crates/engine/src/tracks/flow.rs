//! Decides when a source is read on for several followers of its streams: pure.
//!
//! A follower is a track of audio, or all tracks of subtitles. It wants more of the source, has enough for now, or works on what it has.
//! What a follower was given and has not used is held in memory. [`Flow`] keeps the sum near a limit, and never lets a follower that wants more
//! wait for one that has enough:
//!
//! - Nobody wants more: wait.
//! - Too much is held, and a follower that holds some of it is working: wait, since it reports what it uses.
//! - A follower wants more: read. While too much is held, packets of those that have enough are *passed over*.
//! - Every follower that wants more was passed over: start again at the beginning, and skip what each was given already.
//!
//! Subtitles are *patient*: they look far ahead of the audio, so they alone do not make the source be read while too much is held. The audio
//! makes progress without them, since the boundaries of its segments come from the video.

/// What a follower is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// It has enough for now.
    Enough,
    /// It can do nothing before it is given more.
    More,
    /// It will report when it has used what it was given.
    Working,
    /// It needs nothing of the source any more.
    Over,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Read,
    /// Begin again at the beginning of the source.
    Restart,
    /// Until a follower reports.
    Wait,
    /// Nobody needs the source any more.
    End,
}

#[derive(Clone, Copy, Debug)]
struct Follower {
    wish: Wish,
    patient: bool,
    /// Bytes that it was given and has not used.
    held: u64,
    /// A packet was passed over since the source was last read from the beginning.
    passed_over: bool,
}

/// The followers of a source.
pub(super) struct Flow {
    followers: Vec<Follower>,
    held: u64,
    /// Bytes from which on too much is held.
    limit: u64,
}

impl Flow {
    /// Makes one for followers, in their order.
    pub(super) fn new(patient: impl Iterator<Item = bool>, limit: u64) -> Self {
        let followers = patient.map(|patient| Follower {
            wish: Wish::Enough,
            patient,
            held: 0,
            passed_over: false,
        });
        Self {
            followers: followers.collect(),
            held: 0,
            limit: limit.max(1),
        }
    }

    /// What is to be done next.
    pub(super) fn step(&self) -> Step {
        let full = self.held >= self.limit;
        let any = |fits: &dyn Fn(&Follower) -> bool| self.followers.iter().any(fits);
        let wants = |follower: &Follower| follower.wish == Wish::More;
        if !any(&|follower| follower.wish != Wish::Over) {
            Step::End
        } else if full && any(&|follower| follower.wish == Wish::Working && follower.held > 0) {
            Step::Wait
        } else if any(&|follower| {
            wants(follower) && !follower.passed_over && !(full && follower.patient)
        }) {
            Step::Read
        } else if any(&|follower| wants(follower) && follower.passed_over) {
            Step::Restart
        } else {
            Step::Wait
        }
    }

    /// Takes the report of a follower: bytes that it has used, and what it is up to.
    pub(super) fn report(&mut self, follower: usize, used: u64, wish: Wish) {
        let follower = &mut self.followers[follower];
        let used = if wish == Wish::Over {
            follower.held
        } else {
            used.min(follower.held)
        };
        follower.held -= used;
        self.held -= used;
        // What is over stays over: a report may have been on its way when the source ended.
        if follower.wish != Wish::Over {
            follower.wish = wish;
        }
    }

    /// Whether a follower is given a packet of so many bytes.
    pub(super) fn gives(&mut self, follower: usize, bytes: u64) -> bool {
        let share = self.limit / self.followers.len() as u64;
        let full = self.held >= self.limit;
        let follower = &mut self.followers[follower];
        if follower.wish == Wish::Over || follower.passed_over {
            return false;
        }
        if full && follower.wish == Wish::Enough && !follower.patient && follower.held >= share {
            follower.passed_over = true;
            return false;
        }
        follower.held += bytes;
        self.held += bytes;
        if follower.wish == Wish::More {
            follower.wish = Wish::Working;
        }
        true
    }

    /// A follower is told something that takes no memory, and reports when it has heard it if it wants more.
    pub(super) fn tells(&mut self, follower: usize) -> bool {
        let follower = &mut self.followers[follower];
        if follower.wish == Wish::More {
            follower.wish = Wish::Working;
        }
        follower.wish != Wish::Over
    }

    /// The source has ended. Gives the followers that have all of it now; they need it no longer.
    pub(super) fn end(&mut self) -> Vec<usize> {
        let mut complete = Vec::new();
        for (index, follower) in self.followers.iter_mut().enumerate() {
            if follower.wish != Wish::Over && !follower.passed_over {
                follower.wish = Wish::Over;
                self.held -= std::mem::take(&mut follower.held);
                complete.push(index);
            }
        }
        complete
    }

    /// The source is read from its beginning again.
    pub(super) fn restart(&mut self) {
        for follower in &mut self.followers {
            follower.passed_over = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A follower as it behaves: it wants packets up to a boundary, then waits for the next boundary.
    #[derive(Default)]
    struct Simulated {
        /// Numbers of the packets given and not used.
        given: VecDeque<u64>,
        /// Packets that it needs before the boundary it knows of.
        until: u64,
        used: u64,
        boundaries: u64,
        ended: bool,
    }

    struct World {
        flow: Flow,
        /// The stream of each packet, in the order of the file.
        file: Vec<usize>,
        followers: Vec<Simulated>,
        /// Reports on their way.
        reports: VecDeque<(usize, u64, Wish)>,
        at: usize,
        seen: Vec<u64>,
        delivered: Vec<u64>,
        restarts: u32,
        most_held: u64,
    }

    const PACKETS: u64 = 40;
    const STEP: u64 = 10;
    const BYTES: u64 = 10;

    impl World {
        fn new(file: Vec<usize>, count: usize, limit: u64) -> Self {
            Self {
                flow: Flow::new((0..count).map(|_| false), limit),
                file,
                followers: (0..count).map(|_| Simulated::default()).collect(),
                reports: VecDeque::new(),
                at: 0,
                seen: vec![0; count],
                delivered: vec![0; count],
                restarts: 0,
                most_held: 0,
            }
        }

        /// The follower works as far as it can, and reports it.
        fn work(&mut self, index: usize) {
            let follower = &mut self.followers[index];
            let mut used = 0;
            while follower.used < follower.until {
                let Some(packet) = follower.given.pop_front() else {
                    break;
                };
                assert_eq!(packet, follower.used, "a packet is lost or comes twice");
                follower.used += 1;
                used += BYTES;
            }
            let over = follower.boundaries * STEP >= PACKETS && follower.used >= PACKETS;
            let wish = if over {
                Wish::Over
            } else if follower.used < follower.until && !follower.ended {
                Wish::More
            } else {
                Wish::Enough
            };
            self.reports.push_back((index, used, wish));
        }

        fn read(&mut self) {
            let Some(stream) = self.file.get(self.at).copied() else {
                for index in self.flow.end() {
                    self.followers[index].ended = true;
                    self.work(index);
                }
                return;
            };
            self.at += 1;
            self.seen[stream] += 1;
            if self.seen[stream] > self.delivered[stream] && self.flow.gives(stream, BYTES) {
                self.delivered[stream] += 1;
                let number = self.delivered[stream] - 1;
                self.followers[stream].given.push_back(number);
            }
        }

        /// Runs to the end, in an order that `roll` decides.
        fn run(&mut self, mut roll: impl FnMut(u32) -> u32) {
            for _ in 0..100_000 {
                let held: usize = self.followers.iter().map(|f| f.given.len()).sum();
                self.most_held = self.most_held.max(held as u64 * BYTES);
                let index = roll(self.followers.len() as u32) as usize;
                match roll(4) {
                    0 => {
                        let follower = &mut self.followers[index];
                        // Boundaries come to all, but not at one time.
                        if follower.boundaries * STEP < PACKETS {
                            follower.boundaries += 1;
                            follower.until = follower.boundaries * STEP;
                        }
                        self.work(index);
                    }
                    1 => self.work(index),
                    2 => {
                        if let Some((index, used, wish)) = self.reports.pop_front() {
                            self.flow.report(index, used, wish);
                        }
                    }
                    _ => match self.flow.step() {
                        Step::Read => self.read(),
                        Step::Restart => {
                            self.restarts += 1;
                            self.at = 0;
                            self.seen.fill(0);
                            self.flow.restart();
                        }
                        Step::Wait => {}
                        Step::End => return,
                    },
                }
            }
            panic!("it never ends");
        }
    }

    fn dice(mut state: u64) -> impl FnMut(u32) -> u32 {
        move |sides| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) as u32) % sides
        }
    }

    fn used(world: &World) -> Vec<u64> {
        world
            .followers
            .iter()
            .map(|follower| follower.used)
            .collect()
    }

    #[test]
    fn every_follower_gets_every_packet_in_any_order() {
        for seed in 1..400 {
            let mut roll = dice(seed);
            let count = 1 + roll(4) as usize;
            let mut file: Vec<usize> = (0..count)
                .flat_map(|stream| [stream; PACKETS as usize])
                .collect();
            // From streams one after the other to streams well mixed.
            for _ in 0..roll(400) {
                let (one, other) = (roll(file.len() as u32), roll(file.len() as u32));
                file.swap(one as usize, other as usize);
            }
            let limit = u64::from(1 + roll(600));
            let mut world = World::new(file, count, limit);
            world.run(roll);
            assert_eq!(used(&world), vec![PACKETS; count], "seed {seed}");
            assert!(
                world.most_held <= 2 * limit + 4 * BYTES * count as u64,
                "seed {seed}: {}",
                world.most_held
            );
        }
    }

    #[test]
    fn streams_that_lie_side_by_side_are_read_once() {
        let file = (0..PACKETS).flat_map(|_| [0, 1, 2]).collect();
        let mut world = World::new(file, 3, 10_000);
        world.run(dice(7));
        assert_eq!((world.restarts, used(&world)), (0, vec![PACKETS; 3]));
    }

    #[test]
    fn subtitles_do_not_have_the_source_read_while_much_is_held() {
        let mut flow = Flow::new([false, true].into_iter(), 100);
        flow.report(1, 0, Wish::More);
        assert_eq!(flow.step(), Step::Read);
        assert!(flow.gives(0, 100));
        assert_eq!(flow.step(), Step::Wait);
        // The audio goes on by itself, and the subtitles with it.
        flow.report(0, 0, Wish::More);
        assert_eq!(flow.step(), Step::Read);
        flow.report(0, 100, Wish::Enough);
        assert_eq!(flow.step(), Step::Read);
        flow.report(1, 0, Wish::Over);
        assert_eq!(flow.step(), Step::Wait);
        flow.report(0, 0, Wish::Over);
        assert_eq!(flow.step(), Step::End);
    }
}
