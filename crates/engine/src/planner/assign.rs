//! Which encoders make each rendition.

use rungs_media::encode;
use rungs_package::coding::Coding;

use crate::classes::{Choice, spread};
use crate::coding::packaged;
use crate::device::Device;
use crate::plan::{Maker, RenditionDraft};

use super::encoders::encoders;

/// Decides which encoders make each rendition: those of one class, which keep one codec contract.
pub(super) fn assign(
    drafts: Vec<RenditionDraft>,
    others: Vec<Vec<RenditionDraft>>,
    devices: &[Device],
) -> Vec<RenditionDraft> {
    let encoders = encoders(devices);
    let speed = |draft: &RenditionDraft| {
        let name = draft.encoder.encoder.as_str();
        let with_it = devices
            .iter()
            .filter(|device| device.encoders().any(|encoder| encoder == name));
        let sessions: u32 = with_it.map(|device| device.sessions).sum();
        let place = encoders.iter().position(|(_, encoder)| *encoder == name);
        (place.unwrap_or(0), f64::from(sessions) * draft.trial_speed)
    };
    let by_class: Vec<Vec<Vec<RenditionDraft>>> = drafts
        .into_iter()
        .zip(others)
        .map(|(first, others)| by_contract(first, others))
        .collect();
    let choices: Vec<Vec<Choice>> = by_class
        .iter()
        .map(|classes| {
            let choice = |class: &Vec<RenditionDraft>| {
                Choice::of(&class.iter().map(speed).collect::<Vec<_>>())
            };
            classes.iter().map(choice).collect()
        })
        .collect();
    let picks = spread(&choices);
    by_class
        .into_iter()
        .zip(&choices)
        .zip(picks)
        .map(|((mut classes, choices), pick)| {
            let successors = successors(&classes, (choices, pick));
            let mut makers = classes.remove(pick);
            let mut draft = makers.remove(0);
            draft.successors = successors;
            draft.others = makers.into_iter().map(Maker::from).collect();
            draft.spare = classes.into_iter().flatten().map(Maker::from).collect();
            draft
        })
        .collect()
}

/// The classes that may take a rendition over from the one that was picked, by their encoders' names: all others, the fastest first.
fn successors(
    classes: &[Vec<RenditionDraft>],
    (choices, pick): (&[Choice], usize),
) -> Vec<Vec<String>> {
    let mut others: Vec<usize> = (0..classes.len()).filter(|place| *place != pick).collect();
    let seconds = |place: usize| choices[place].seconds();
    others.sort_by(|one, other| seconds(*one).total_cmp(&seconds(*other)));
    let names = |place: usize| {
        let makers = classes[place].iter();
        makers.map(|draft| draft.encoder.encoder.clone()).collect()
    };
    others.into_iter().map(names).collect()
}

/// Puts trials of one rendition together whose segments may stand in one rendition.
fn by_contract(first: RenditionDraft, others: Vec<RenditionDraft>) -> Vec<Vec<RenditionDraft>> {
    let mut classes = vec![vec![first]];
    for other in others {
        let class = classes
            .iter_mut()
            .find(|class| may_share(&class[0], &other));
        match class {
            Some(class) => class.push(other),
            None => classes.push(vec![other]),
        }
    }
    classes
}

/// Whether segments of both encoders may stand in one rendition: the codec contract holds.
fn may_share(one: &RenditionDraft, other: &RenditionDraft) -> bool {
    let coding = |draft: &RenditionDraft| {
        let codec = encode::codec_of(&draft.encoder.encoder)?;
        Coding::parse(packaged(codec), [draft.configuration.as_slice()]).ok()
    };
    coding(one)
        .zip(coding(other))
        .is_some_and(|(one, other)| one.difference(&other).is_none())
}
