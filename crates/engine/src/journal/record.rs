//! `plan.json`: what a job was begun with, and how another one differs from it.

use std::fmt;

use rungs_media::hardware;
use rungs_media::time::TimeBase;
use rungs_media::{CancelToken, Lasting, Source};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{JournalError, SourceIdentity};
use crate::gpu::Driver;
use crate::ladder::{Fit, Rung};
use crate::plan::{Maker, Plan, Rendition, ScalePlan, Warning};
use crate::report::MadeBy;
use crate::spec::Spec;

/// Version of the record's form. It changes whenever an older program could not go on with a newer record.
pub const RECORD_VERSION: u32 = 2;

/// Where a source is, and which one it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// Its absolute path, or its address without a name, password or query in it, or what else it is called. A path that is no UTF-8 is kept as
    /// near as can be, and will not be found again by it.
    pub path: String,
    /// Which file it is; `None` for one that comes once, such as standard input.
    pub identity: Option<SourceIdentity>,
    /// How long each picture is shown of a source of images.
    #[serde(default)]
    pub images: Option<TimeBase>,
}

/// All that a run needs to go on with another one's job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// What began the job. For people: encoders are known by what they give.
    pub made_by: MadeBy,
    /// The source.
    pub source: SourceRecord,
    /// What was asked for.
    pub spec: Spec,
    /// What was made of it.
    pub plan: Plan,
}

/// The first thing in which two jobs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Another source.
    Source {
        /// The earlier one's path and length.
        then: (String, u64),
        /// The present one's.
        now: (String, u64),
    },
    /// A source that comes once, then or now.
    Once {
        /// What it is called.
        name: String,
    },
    /// Another setting.
    Setting {
        /// Its name on the command line.
        name: String,
        /// Its earlier value.
        then: String,
        /// Its present value.
        now: String,
    },
    /// The same encoder with the same settings gives other bytes.
    Encoder {
        /// Its name.
        name: String,
        /// The rendition.
        rendition: String,
        /// The earlier FFmpeg.
        then: String,
        /// The present FFmpeg.
        now: String,
    },
    /// The GPUs that make a rendition are not there, or do not encode now.
    Maker {
        /// The rendition.
        rendition: String,
        /// Their encoders, with the models.
        encoders: Vec<String>,
        /// What the GPUs that are there failed in the present plan, in words.
        failed: Vec<String>,
    },
    /// The driver of the GPUs that make a rendition has changed.
    Driver {
        /// The rendition.
        rendition: String,
        /// Their encoder, with the model.
        encoder: String,
        /// The earlier driver.
        then: Driver,
        /// The present one.
        now: Driver,
    },
    /// The GPUs that scale its pictures are not there, or not used now.
    Scaler {
        /// Their model.
        model: String,
    },
    /// They are there, and make other pictures than they did: driver, FFmpeg or this program has changed.
    Scaled {
        /// Their model.
        model: String,
    },
    /// Something else that follows from source, settings and FFmpeg's version.
    Plan {
        /// Where it stands in the plan.
        field: String,
        /// Its earlier value.
        then: String,
        /// Its present value.
        now: String,
    },
}

impl Difference {
    /// What a person can do who wants to go on with the job of the record.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Driver { .. } => {
                "put the earlier driver back and give the same command again, give another folder, or --force to remove what there is and start afresh \
                 with this driver"
            }
            Self::Scaled { .. } => {
                "go on with the driver, the FFmpeg and the rungs that it was begun with, give another folder, or --force to remove what there is and \
                 start afresh"
            }
            Self::Maker { .. } | Self::Scaler { .. } => {
                "go on with the same command when the GPU is back (`rungs devices --refresh` shows whether it is), give another folder, or --force to \
                 remove what there is and start afresh without it"
            }
            _ => {
                "go on with that package by `rungs resume`, give another folder, or --force to remove it and start afresh"
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { then, now } => write!(
                f,
                "another source: then {} of {} bytes, now {} of {} bytes{}",
                then.0,
                then.1,
                now.0,
                now.1,
                if then.1 == now.1 {
                    ", with other content"
                } else {
                    ""
                }
            ),
            Self::Once { name } => write!(
                f,
                "{name} comes once: whether it is the same again cannot be known"
            ),
            Self::Setting { name, then, now } => {
                write!(f, "other settings: {name} was {then} and is {now}")
            }
            Self::Encoder {
                name,
                rendition,
                then,
                now,
            } => write!(
                f,
                "another encoder: {name} gives other bytes for {rendition} than it did (FFmpeg {then} then, {now} now)"
            ),
            Self::Maker { .. }
            | Self::Driver { .. }
            | Self::Scaler { .. }
            | Self::Scaled { .. } => self.fmt_of_gpus(f),
            Self::Plan { field, then, now } => {
                write!(f, "another plan: {field} was {then} and is {now}")
            }
        }
    }
}

impl Difference {
    /// The differences between the GPUs of two runs, in words.
    fn fmt_of_gpus(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maker {
                rendition,
                encoders,
                failed,
            } => {
                let encoders = encoders.join(" and ");
                write!(
                    f,
                    "{rendition} is made by {encoders}, which does not encode now"
                )?;
                failed.iter().try_for_each(|why| write!(f, "; {why}"))
            }
            Self::Driver {
                rendition,
                encoder,
                then,
                now,
            } => write!(
                f,
                "{rendition} is made by {encoder}, whose driver has changed: {then} then, {now} now"
            ),
            Self::Scaler { model } => write!(
                f,
                "its pictures are scaled on {model}, which is not used for that now"
            ),
            Self::Scaled { model } => write!(
                f,
                "its pictures are scaled on {model}, which makes other pictures than it did: the driver, FFmpeg or rungs has changed"
            ),
            _ => Ok(()),
        }
    }
}

impl JobRecord {
    /// Records a job before it begins. Blocks while samples of the source are read.
    pub fn new(source: &Source, spec: &Spec, plan: &Plan) -> Result<Self, JournalError> {
        Self::read(source, (spec, plan), &CancelToken::default())
    }

    /// The same; the token ends the wait for a server.
    pub fn read(
        source: &Source,
        (spec, plan): (&Spec, &Plan),
        cancel: &CancelToken,
    ) -> Result<Self, JournalError> {
        let path = source.name();
        let identity = match source.lasting() {
            Ok(Lasting::Never) => None,
            _ => Some(SourceIdentity::read(source, cancel)),
        };
        let identity = identity.transpose().map_err(|source| JournalError::Read {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            version: RECORD_VERSION,
            made_by: MadeBy::this_program(),
            source: SourceRecord {
                path: path.to_string_lossy().into_owned(),
                identity,
                images: match source {
                    Source::Images(images) => Some(images.picture()),
                    _ => None,
                },
            },
            spec: spec.clone(),
            plan: plan.clone(),
        })
    }

    /// Tells why what this job has stored cannot be part of the other job; `None` if it can. What only says how fast the job is
    /// made, or by which devices, is no difference.
    #[must_use]
    pub fn difference(&self, now: &Self) -> Option<Difference> {
        self.source_difference(now)
            .or_else(|| self.setting_difference(now))
            .or_else(|| self.plan_difference(now))
    }

    /// Tells whether the other job has another source.
    #[must_use]
    pub fn source_difference(&self, now: &Self) -> Option<Difference> {
        let (then, now) = (&self.source, &now.source);
        let once = |source: &SourceRecord| Difference::Once {
            name: source.path.clone(),
        };
        let Some(earlier) = then.identity else {
            return Some(once(then));
        };
        let Some(present) = now.identity else {
            return Some(once(now));
        };
        (earlier != present).then(|| Difference::Source {
            then: (then.path.clone(), earlier.bytes),
            now: (now.path.clone(), present.bytes),
        })
    }

    /// The settings of the job that has these rungs too; `None` if it has them all already.
    #[must_use]
    pub fn spec_with(&self, rungs: &[Rung]) -> Option<Spec> {
        let spec = &self.spec;
        let whole = |rung: &Rung| {
            // Of several codecs no rung has one of its own.
            let crf = spec.codecs.first().map(|codec| spec.crf_of(*codec));
            let speed = rung.speed.unwrap_or(spec.speed);
            let rate = rung.rate.unwrap_or(spec.rate);
            (rung.fit, rung.crf.or(crf), speed, rate)
        };
        // The default ladder goes by short sides.
        let sides = self.plan.renditions().iter().map(|rendition| Rung {
            fit: Fit::ShortSide(rendition.size.short_side()),
            crf: None,
            speed: None,
            rate: None,
        });
        let mut all: Vec<Rung> = match &spec.rungs[..] {
            [] => sides.collect(),
            rungs => rungs.to_vec(),
        };
        let had = all.len();
        for rung in rungs {
            if !all.iter().any(|own| whole(own) == whole(rung)) {
                all.push(*rung);
            }
        }
        (all.len() > had).then(|| Spec {
            rungs: all,
            ..spec.clone()
        })
    }

    fn setting_difference(&self, now: &Self) -> Option<Difference> {
        let settings = self.spec.settings().into_iter().zip(now.spec.settings());
        let mut other = settings.filter(|((_, then), (_, now))| then != now);
        let ((name, then), (_, now)) = other.next()?;
        Some(Difference::Setting {
            name: name.to_owned(),
            then,
            now,
        })
    }

    /// Which of the GPUs that make the package are not there or not the same now, if any. Also of those who add to a package that is finished.
    #[must_use]
    pub fn machine_difference(&self, now: &Self) -> Option<Difference> {
        let scaler = || scaler_difference(&self.plan.scaling, &now.plan.scaling);
        self.driver_difference(now)
            .or_else(|| self.maker_difference(now))
            .or_else(scaler)
    }

    /// The first encoder of GPUs that made renditions under another driver than the present one. Another driver may encode otherwise, so it counts as another encoder.
    fn driver_difference(&self, now: &Self) -> Option<Difference> {
        let driver = |plan: &Plan, encoder: &str| {
            let mut offers = plan
                .devices
                .iter()
                .filter_map(|device| device.offer(encoder));
            offers.next().map(|offer| offer.driver.clone())
        };
        self.plan.renditions().iter().find_map(|rendition| {
            let changed = |maker: Maker| {
                let encoder = maker.encoder.encoder;
                let then = driver(&self.plan, &encoder)?;
                let now = driver(&now.plan, &encoder)?;
                (then != now).then(|| Difference::Driver {
                    rendition: rendition.name.clone(),
                    encoder,
                    then,
                    now,
                })
            };
            rendition.makers().find_map(changed)
        })
    }

    /// The first rendition that GPUs make of which none encodes it now; it is known by its name.
    fn maker_difference(&self, now: &Self) -> Option<Difference> {
        let of_gpus = |rendition: &Rendition| {
            let mut makers = rendition.makers();
            makers.all(|maker| hardware::codec_of(&maker.encoder.encoder).is_some())
        };
        let mut lost = self.plan.renditions().iter().filter(|then| {
            let mut same = now.plan.renditions().iter();
            same.find(|now| now.name == then.name).is_some_and(|now| {
                let tried = |maker: Maker| now.tried(&maker.encoder.encoder).is_some();
                of_gpus(then) && !then.makers().any(tried)
            })
        });
        let then = lost.next()?;
        let warnings = now.plan.warnings.iter();
        let failed = warnings.filter(|warning| matches!(warning, Warning::EncodeDevice { .. }));
        Some(Difference::Maker {
            rendition: then.name.clone(),
            encoders: then.makers().map(|maker| maker.encoder.encoder).collect(),
            failed: failed.map(ToString::to_string).collect(),
        })
    }

    fn plan_difference(&self, now: &Self) -> Option<Difference> {
        if let Some(other) = self.machine_difference(now) {
            return Some(other);
        }
        let (then_plan, now_plan) = self.plan.led_alike(&now.plan);
        let (then_plan, now_plan) = (then_plan.lasting(), now_plan.lasting());
        if let Some((field, then, now)) = first_difference("", &then_plan, &now_plan) {
            return Some(Difference::Plan { field, then, now });
        }
        let pairs = self.plan.renditions().iter().zip(now.plan.renditions());
        let mut others = pairs.filter_map(|(then, now)| {
            let differs = |maker: &Maker| {
                let now = now.tried(&maker.encoder.encoder);
                now.is_some_and(|now| !maker.gives_what(&now))
            };
            let maker = then.makers().find(differs)?;
            Some((then, maker))
        });
        let (rendition, maker) = others.next()?;
        Some(Difference::Encoder {
            name: maker.encoder.encoder,
            rendition: rendition.name.clone(),
            then: self.made_by.ffmpeg.clone(),
            now: now.made_by.ffmpeg.clone(),
        })
    }

    /// The plan by which to go on: what determines bytes from this record, what the machine is like from the other.
    #[must_use]
    pub fn plan_on(&self, now: &Plan) -> Plan {
        self.plan.on_machine_of(now)
    }
}

/// Whether pictures would be scaled otherwise now.
fn scaler_difference(then: &ScalePlan, now: &ScalePlan) -> Option<Difference> {
    match (&then.on, &now.on) {
        (Some(model), _) if !now.present.contains(model) => Some(Difference::Scaler {
            model: model.clone(),
        }),
        (Some(model), Some(other)) if model == other && then.digest != now.digest => {
            Some(Difference::Scaled {
                model: model.clone(),
            })
        }
        (None, Some(model)) if now.asked => Some(Difference::Setting {
            name: "--scale-device".to_owned(),
            then: "cpu".to_owned(),
            now: model.clone(),
        }),
        _ => None,
    }
}

/// Where two values differ first, and how.
fn first_difference(at: &str, then: &Value, now: &Value) -> Option<(String, String, String)> {
    let inner = |key: &str| match at {
        "" => key.to_owned(),
        at => format!("{at}.{key}"),
    };
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => {
            let keys = then
                .keys()
                .chain(now.keys().filter(|key| !then.contains_key(*key)));
            let of = |map: &serde_json::Map<String, Value>, key: &str| {
                map.get(key).cloned().unwrap_or(Value::Null)
            };
            keys.into_iter()
                .find_map(|key| first_difference(&inner(key), &of(then, key), &of(now, key)))
        }
        (Value::Array(then), Value::Array(now)) if then.len() == now.len() => {
            let mut pairs = (0..).zip(then.iter().zip(now));
            pairs.find_map(|(place, (then, now)): (usize, _)| {
                first_difference(&inner(&place.to_string()), then, now)
            })
        }
        (then, now) if then == now => None,
        (then, now) => Some((at.to_owned(), short(then), short(now))),
    }
}

fn short(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => "nothing".to_owned(),
        Value::Array(list) => format!("{} entries", list.len()),
        value => value.to_string(),
    };
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The record of a job over memory with these rungs.
    fn record(rungs: &[&str]) -> JobRecord {
        use rungs_testkit::fake::FakeJob;
        let job = FakeJob {
            frames: 10,
            frames_per_segment: 5,
            renditions: 2,
            sessions: 1,
            memory: 1,
        };
        let rungs = rungs.iter().map(|rung| rung.parse().expect("a rung"));
        let spec = Spec {
            rungs: rungs.collect(),
            ..Spec::default()
        };
        // The kit has this crate as another one: its plan comes over as text.
        let plan = serde_json::to_vec(&job.plan()).expect("a plan");
        let plan = serde_json::from_slice(&plan).expect("a plan");
        JobRecord::new(&Source::from(vec![1]), &spec, &plan).expect("memory can be read")
    }

    #[test]
    fn a_record_comes_back_from_text_as_it_was() {
        let record = record(&["720p@crf=30", "90p"]);
        let text = serde_json::to_vec_pretty(&record).expect("JSON");
        let back: JobRecord = serde_json::from_slice(&text).expect("a record");
        assert_eq!(back, record);
        assert_eq!(record.difference(&back), None);
    }

    #[test]
    fn a_source_that_comes_once_is_never_the_same() {
        let record = record(&[]);
        let mut once = record.clone();
        once.source.identity = None;
        let text = serde_json::to_vec(&once).expect("JSON");
        assert_eq!(serde_json::from_slice::<JobRecord>(&text).unwrap(), once);
        for (then, now) in [(&once, &once), (&once, &record), (&record, &once)] {
            let difference = then.difference(now);
            assert!(
                matches!(difference, Some(Difference::Once { .. })),
                "{difference:?}"
            );
        }
    }

    #[test]
    fn what_only_this_machine_is_like_is_no_difference() {
        let then = record(&[]);
        let mut now = then.clone();
        now.plan.memory *= 3;
        now.plan.devices.clear();
        now.plan.warnings = vec![crate::plan::Warning::Interlaced];
        now.made_by.ffmpeg = "another".to_owned();
        assert_eq!(then.difference(&now), None);
        let plan = then.plan_on(&now.plan);
        assert_eq!(plan.memory, now.plan.memory);
        assert_eq!(plan.renditions(), then.plan.renditions());
        now.plan.nominal_duration += 1;
        let told = then.difference(&now).expect("another plan").to_string();
        assert!(
            told.starts_with("another plan: nominal_duration was "),
            "{told}"
        );
    }

    #[test]
    fn who_goes_on_is_told_of_the_room_that_there_is_now() {
        let room = |free| crate::plan::Warning::LittleRoom { expected: 9, free };
        let (mut then, mut now) = (record(&[]), record(&[]));
        then.plan.warnings = vec![crate::plan::Warning::Interlaced, room(1)];
        let plan = then.plan_on(&now.plan);
        assert_eq!(plan.warnings, [crate::plan::Warning::Interlaced]);
        now.plan.warnings = vec![room(2)];
        let plan = then.plan_on(&now.plan);
        assert_eq!(plan.warnings, [crate::plan::Warning::Interlaced, room(2)]);
    }

    #[test]
    fn joined_sources_may_be_moved_and_not_exchanged() {
        let joined = |path: &str, bytes: &[u8]| crate::join::Joined {
            path: path.into(),
            identity: SourceIdentity::of(&Source::from(bytes.to_vec())).expect("memory"),
            video_stream: 0,
            sound_stream: None,
            normalise: rungs_media::normalise::Config::default(),
            time_base: rungs_media::time::TimeBase::new(1, 25).expect("above zero"),
            origin: 0,
            start: 100,
            until: None,
        };
        let (mut then, mut now) = (record(&[]), record(&[]));
        then.plan.joined = vec![joined("a", b"one")];
        now.plan.joined = vec![joined("b", b"one")];
        assert_eq!(then.difference(&now), None);
        assert_eq!(then.plan_on(&now.plan).joined, now.plan.joined);
        now.plan.joined = vec![joined("a", b"two")];
        let told = then.difference(&now).expect("another source").to_string();
        assert!(told.starts_with("another plan: joined.0."), "{told}");
    }

    /// What another encoder gave for the first rendition.
    fn other(record: &JobRecord, fingerprint: &[u8]) -> Maker {
        let mut maker = record.plan.renditions()[0].makers().next().expect("one");
        maker.encoder.encoder = "other".to_owned();
        maker.configuration.push(0);
        maker.fingerprint = rungs_package::Digest::of(fingerprint);
        maker
    }

    /// The record as text, with the makers of the first rendition put in.
    fn with(record: &JobRecord, change: impl Fn(&mut serde_json::Value)) -> JobRecord {
        let mut value = serde_json::to_value(record).expect("JSON");
        change(&mut value["plan"]["renditions"][0]);
        serde_json::from_value(value).expect("a record")
    }

    #[test]
    fn every_encoder_that_both_runs_have_is_compared() {
        let alone = record(&[]);
        let shared = |fingerprint: &[u8]| {
            let maker = other(&alone, fingerprint);
            with(&alone, |first| first["others"] = json!([maker]))
        };
        // Who goes on may have fewer devices, or more.
        assert_eq!(shared(b"a").difference(&shared(b"a")), None);
        assert_eq!(shared(b"a").difference(&alone), None);
        assert_eq!(alone.difference(&shared(b"a")), None);
        let told = shared(b"a").difference(&shared(b"b"));
        let told = told.expect("another encoder").to_string();
        assert!(
            told.starts_with("another encoder: other gives other bytes"),
            "{told}"
        );
    }

    #[test]
    fn who_goes_on_may_have_another_of_the_encoders_alone() {
        let alone = record(&[]);
        let maker = other(&alone, b"a");
        let led = |maker: &Maker| {
            let maker = serde_json::to_value(maker).expect("JSON");
            with(&alone, |first| {
                for field in ["encoder", "configuration", "fingerprint"] {
                    first[field] = maker[field].clone();
                }
            })
        };
        let shared = with(&alone, |first| first["others"] = json!([maker]));
        assert_eq!(shared.difference(&led(&maker)), None);
        assert!(shared.difference(&led(&other(&alone, b"b"))).is_some());
        // An encoder that never made it is another plan.
        let told = alone.difference(&led(&maker)).expect("another plan");
        assert!(
            told.to_string().starts_with("another plan: renditions.0."),
            "{told}"
        );
    }

    #[test]
    fn which_class_makes_a_rendition_is_kept() {
        let alone = record(&[]);
        let (first, maker) = (
            alone.plan.renditions()[0].makers().next().expect("one"),
            other(&alone, b"a"),
        );
        let spare = with(&alone, |first| first["spare"] = json!([maker]));
        // The other class was a little faster this time.
        let led = serde_json::to_value(&maker).expect("JSON");
        let swapped = with(&alone, |rendition| {
            for field in ["encoder", "configuration", "fingerprint"] {
                rendition[field] = led[field].clone();
            }
            rendition["spare"] = json!([first]);
        });
        assert_eq!(spare.difference(&swapped), None);
        let plan = spare.plan_on(&swapped.plan);
        assert_eq!(plan.renditions()[0].encoder, first.encoder);
        assert_eq!(spare.plan.with_renditions_of(&swapped.plan), None);
    }

    #[test]
    fn rungs_are_added_once() {
        let rung = |text: &str| text.parse::<Rung>().expect("a rung");
        let then = record(&["720p", "90p@crf=50"]);
        assert_eq!(then.spec_with(&[rung("720p@crf=35,speed=8")]), None);
        let more = then
            .spec_with(&[rung("90p"), rung("720p")])
            .expect("one is new");
        assert_eq!(more.rungs, [rung("720p"), rung("90p@crf=50"), rung("90p")]);
        // The default ladder is spelled out.
        let more = record(&[]).spec_with(&[rung("90p")]).expect("it is new");
        assert_eq!(more.rungs.last(), Some(&rung("90p")));
        assert_eq!(more.rungs.len(), 3);
    }

    #[test]
    fn the_first_difference_is_named() {
        let told = |then, now| first_difference("", &then, &now);
        assert_eq!(
            told(json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 2}]})),
            None
        );
        assert_eq!(
            told(json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 3}]})),
            Some(("a.1.b".into(), "2".into(), "3".into()))
        );
        assert_eq!(
            told(json!({"a": null}), json!({"a": null, "c": "x"})),
            Some(("c".into(), "nothing".into(), "x".into()))
        );
        assert_eq!(
            told(json!([1]), json!([1, 2])),
            Some((String::new(), "1 entries".into(), "2 entries".into()))
        );
    }

    #[test]
    fn whoever_goes_on_scales_as_the_job_began() {
        let plan = |on: Option<&str>, made: u8| ScalePlan {
            on: on.map(str::to_owned),
            digest: on.map(|_| rungs_package::Digest::of(&[made])),
            present: vec!["L4".to_owned()],
            asked: false,
        };
        let differs = |then: &ScalePlan, now: &ScalePlan| {
            scaler_difference(then, now).map(|difference| difference.to_string())
        };
        let (cpu, gpu) = (plan(None, 0), plan(Some("L4"), 0));
        // The machine can do what the job began with, whatever it would choose now.
        for now in [&cpu, &gpu] {
            assert_eq!(differs(&cpu, now), None);
            assert_eq!(differs(&gpu, now), None);
        }
        let gone = ScalePlan::default();
        let told = differs(&gpu, &gone).expect("it is gone");
        assert!(told.contains("L4, which is not used"), "{told}");
        assert_eq!(differs(&cpu, &gone), None);
        let told = differs(&gpu, &plan(Some("L4"), 1)).expect("another driver");
        assert!(told.contains("makes other pictures"), "{told}");
        let asked = ScalePlan { asked: true, ..gpu };
        let told = differs(&cpu, &asked).expect("asked for");
        assert!(told.contains("--scale-device was cpu and is L4"), "{told}");
    }
}
