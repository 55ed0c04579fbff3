//! The reader: one demuxer for all followers.

use rungs_media::demux::{Demuxer, Stream};
use rungs_media::{AvError, Error, Limits, Packet, Source};

use crate::cancel::Cancel;
use crate::sound;
use crate::sync::{Receiver, Sender};

use super::flow::{Flow, Step};
use super::{Delivery, Failed, Follower, Given, HELD_BYTES, Lines, Part, Report, Seat};

/// The way of a stream's packets to a follower.
struct Route {
    stream: usize,
    follower: usize,
    /// Packets that the follower was given.
    delivered: u64,
}

struct Served {
    seat: Seat,
    patient: bool,
    watches: Option<usize>,
    /// How far the stream that it watches was read, in ticks.
    reached: Option<i64>,
}

/// Reads the source for followers.
pub(super) struct Reader<'a> {
    source: &'a Source,
    part: Part,
    deliveries: Vec<Sender<Delivery>>,
    reports: Receiver<Report>,
    cancel: Cancel,
    routes: Vec<Route>,
    served: Vec<Served>,
    failed: Failed,
    /// Bytes that are held for all followers, about.
    pub(super) limit: u64,
    /// The followers know their streams.
    begun: bool,
    /// Time of the last packet, in seconds of the presentation.
    at: f64,
}

/// A source while it is read once.
struct Pass {
    demuxer: Demuxer,
    /// Packets of each stream so far.
    seen: Vec<u64>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        (source, part): (&'a Source, Part),
        (deliveries, reports): Lines,
        (failed, cancel): (Failed, &Cancel),
    ) -> Self {
        Self {
            source,
            part,
            failed,
            limit: HELD_BYTES,
            begun: false,
            at: 0.0,
            deliveries,
            reports,
            cancel: cancel.clone(),
            routes: Vec::new(),
            served: Vec::new(),
        }
    }

    /// Reads for a follower too.
    pub(super) fn serve(&mut self, follower: &dyn Follower, seat: Seat) {
        let number = self.served.len();
        self.routes
            .extend(follower.streams().into_iter().map(|stream| Route {
                stream,
                follower: number,
                delivered: 0,
            }));
        self.served.push(Served {
            seat,
            patient: follower.watches().is_some(),
            watches: follower.watches(),
            reached: None,
        });
    }

    /// Runs until nobody needs the source any more. What it fails of is reported before the workers can see that the reader is gone.
    pub(super) fn run(mut self) {
        match self.read_all() {
            Ok(()) | Err(Error::Cancelled) => {}
            Err(error) => self.fail(error),
        }
    }

    /// Reports that the tracks cannot be made, and is gone.
    pub(super) fn fail(self, error: Error) {
        (self.failed)(self.at, error);
    }

    fn read_all(&mut self) -> Result<(), Error> {
        let mut flow = Flow::new(self.served.iter().map(|served| served.patient), self.limit);
        let mut pass = None;
        loop {
            while let Ok(report) = self.reports.try_recv() {
                flow.report(report.follower, report.used, report.wish);
            }
            if self.cancel.is_cancelled() {
                return Ok(());
            }
            match flow.step() {
                Step::Read => {
                    // Opened when somebody wants something: the readers of the video take memory to look at the streams, too, until then.
                    let pass = match &mut pass {
                        Some(pass) => pass,
                        none => none.insert(self.open()?),
                    };
                    self.read_on(&mut flow, pass)?;
                }
                Step::Restart => {
                    pass = None;
                    flow.restart();
                }
                Step::Wait => match self.reports.recv() {
                    Ok(report) => flow.report(report.follower, report.used, report.wish),
                    Err(_) => return Ok(()),
                },
                Step::End => return Ok(()),
            }
        }
    }

    fn read_on(&mut self, flow: &mut Flow, pass: &mut Pass) -> Result<(), Error> {
        match pass.demuxer.read() {
            Ok(Some(packet)) => self.hand_out(flow, pass, &packet),
            Ok(None) => {
                self.end(flow, None);
                Ok(())
            }
            Err(Error::Read(error)) => {
                self.end(flow, Some(&error));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Opens the source, and begins the followers if that is the first time.
    fn open(&mut self) -> Result<Pass, Error> {
        let pass = self.open_pass()?;
        if !std::mem::replace(&mut self.begun, true) {
            self.begin(pass.demuxer.streams());
        }
        Ok(pass)
    }

    fn open_pass(&self) -> Result<Pass, Error> {
        let mut demuxer = Demuxer::open(self.source, &Limits::default(), self.cancel.media())?;
        let watched = self.served.iter().filter_map(|served| served.watches);
        let streams = self.routes.iter().map(|route| route.stream);
        let kept: Vec<usize> = streams.chain(watched).collect();
        demuxer.keep_only(&kept);
        let first = self.routes.first().map(|route| route.stream);
        let first = first.and_then(|stream| demuxer.streams().get(stream).cloned());
        if self.part.from_there
            && let Some(first) = first
        {
            sound::approach(&mut demuxer, &first, self.part.origin)?;
        }
        Ok(Pass {
            seen: vec![0; demuxer.streams().len()],
            demuxer,
        })
    }

    /// Tells every follower of its streams, by their own index.
    fn begin(&self, streams: &[Stream]) {
        for (number, served) in self.served.iter().enumerate() {
            let own = self.routes.iter().filter(|route| route.follower == number);
            let wanted = own.map(|route| route.stream).chain(served.watches);
            let streams = wanted.filter_map(|stream| streams.get(stream).cloned());
            let streams = streams.collect();
            let slot = served.seat.slot;
            self.send(number, Delivery::Begin { slot, streams });
        }
    }

    fn hand_out(&mut self, flow: &mut Flow, pass: &mut Pass, packet: &Packet) -> Result<(), Error> {
        let stream = packet.stream();
        self.tell_how_far(flow, packet);
        let base = pass
            .demuxer
            .streams()
            .get(stream)
            .map(|stream| stream.time_base);
        if let (Some(time), Some(base)) = (packet.pts(), base) {
            self.at = base.seconds(time) - self.part.origin;
        }
        let Some(seen) = pass.seen.get_mut(stream) else {
            return Ok(());
        };
        *seen += 1;
        let bytes = packet.data().len() as u64;
        for index in 0..self.routes.len() {
            let route = &mut self.routes[index];
            let follower = route.follower;
            // What was given before the source was read again is not given twice.
            let new = route.stream == stream && *seen > route.delivered;
            if new && flow.gives(follower, bytes) {
                route.delivered = *seen;
                let slot = self.served[follower].seat.slot;
                let given = Given::Packet(packet.share()?);
                self.send(follower, Delivery::Given { slot, given });
            }
        }
        Ok(())
    }

    /// Tells those who watch a stream how far it was read.
    fn tell_how_far(&mut self, flow: &mut Flow, packet: &Packet) {
        let Some(time) = packet.dts().or(packet.pts()) else {
            return;
        };
        for number in 0..self.served.len() {
            let served = &mut self.served[number];
            let further = served.reached.is_none_or(|reached| reached < time);
            if served.watches == Some(packet.stream()) && further && flow.tells(number) {
                served.reached = Some(time);
                let slot = served.seat.slot;
                self.send(number, Delivery::Reached { slot, time });
            }
        }
    }

    fn end(&self, flow: &mut Flow, error: Option<&AvError>) {
        for number in flow.end() {
            let slot = self.served[number].seat.slot;
            let given = Given::End(error.cloned());
            self.send(number, Delivery::Given { slot, given });
        }
    }

    fn send(&self, follower: usize, delivery: Delivery) {
        let worker = self.served.get(follower).map(|served| served.seat.worker);
        if let Some(line) = worker.and_then(|worker| self.deliveries.get(worker)) {
            // A worker that is gone has said why.
            line.send(delivery).ok();
        }
    }
}
