//! Codecs that neither take anything nor give anything.
//!
//! FFmpeg's codecs answer "again" to one of both at a time. A driver that is busy, or hangs, may
//! answer so to both, and a caller that asks again at once would keep a core busy for ever.

use std::thread;
use std::time::Duration;

/// How long a codec may stand still.
const LONGEST: Duration = Duration::from_secs(10);
/// The first pause and the longest one. Each is twice as long as the one before.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(100)];

/// What a codec has answered lately.
#[derive(Debug)]
pub(crate) struct Stall {
    longest: Duration,
    /// It has to give something before it takes anything.
    owes: bool,
    /// It was told that there is nothing more, and has to give until it ends.
    is_ending: bool,
    pause: Duration,
    waited: Duration,
}

impl Default for Stall {
    fn default() -> Self {
        Self::within(LONGEST)
    }
}

impl Stall {
    fn within(longest: Duration) -> Self {
        Self {
            longest,
            owes: false,
            is_ending: false,
            pause: PAUSES[0],
            waited: Duration::ZERO,
        }
    }

    /// Notes whether it has taken what it was given, which may be the end.
    pub(crate) fn sent(&mut self, accepted: bool, is_end: bool) {
        if accepted {
            self.is_ending = is_end;
            self.moves();
        } else {
            self.owes = true;
        }
    }

    /// Notes that it has given something, or has ended.
    pub(crate) fn moves(&mut self) {
        self.owes = false;
        self.pause = PAUSES[0];
        self.waited = Duration::ZERO;
    }

    /// Notes that it has given nothing. Where it had to, this waits a little, as there is nothing to
    /// be woken by. Returns whether it may be asked again.
    pub(crate) fn gives_nothing(&mut self) -> bool {
        if !self.owes && !self.is_ending {
            return true;
        }
        if self.waited >= self.longest {
            return false;
        }
        thread::sleep(self.pause);
        self.waited += self.pause;
        self.pause = (self.pause * 2).min(PAUSES[1]);
        true
    }

    /// Forgets all, for a new place in the stream.
    pub(crate) fn flush(&mut self) {
        *self = Self::within(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a codec is asked that answers "again" for ever.
    fn asked(stall: &mut Stall) -> u32 {
        let mut asked = 1;
        while stall.gives_nothing() {
            asked += 1;
            assert!(asked < 1000, "it is asked for ever");
        }
        asked
    }

    #[test]
    fn a_codec_that_stands_still_is_asked_a_few_times_and_given_up() {
        let longest = Duration::from_millis(300);
        for end in [false, true] {
            let mut stall = Stall::within(longest);
            stall.sent(end, end);
            let asked = asked(&mut stall);
            assert!((5..=12).contains(&asked), "{asked}");
            assert!(stall.waited >= longest);
        }
    }

    #[test]
    fn a_codec_that_wants_more_or_gives_something_now_and_then_is_left_alone() {
        let mut stall = Stall::within(Duration::from_millis(3));
        for _ in 0..100 {
            stall.sent(true, false);
            assert!(stall.gives_nothing());
        }
        assert_eq!(stall.waited, Duration::ZERO);
        for _ in 0..20 {
            stall.sent(false, false);
            assert!(stall.gives_nothing());
            stall.moves();
        }
        stall.sent(true, true);
        for _ in 0..20 {
            assert!(stall.gives_nothing());
            stall.moves();
        }
        stall.flush();
        stall.sent(true, false);
        assert!(stall.gives_nothing() && stall.waited == Duration::ZERO);
    }
}
