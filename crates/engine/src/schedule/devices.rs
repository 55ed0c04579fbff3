//! The devices, their leases, and the index by which an idle lease is found.
//!
//! Devices of equal ability and similar pace are a *group*. Placement looks at groups, of which there are few, and never at all
//! devices. A device is in the index while it has a lease to give.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{DeviceFacts, Tick};
use super::ledger::{Account, Clock, Counts};
use crate::device::Lease;
use crate::ids::{AttemptId, DeviceId, JobId, TaskId};

/// Place of a group in [`Devices::groups`].
pub(super) type GroupId = usize;

/// Steps of pace that make another group: factors of this.
const PACE_STEP: f64 = 1.15;

/// Whether a device gets tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Standing {
    /// It does.
    Open,
    /// Not until a golden task passes.
    Quarantined {
        /// When the golden task is due.
        until: Tick,
    },
    /// It is gone.
    Gone,
}

#[derive(Debug)]
pub(super) struct Device {
    pub(super) facts: DeviceFacts,
    pub(super) standing: Standing,
    home: Vec<Lease>,
    /// Leases that are out with an attempt.
    pub(super) out: u32,
    /// Leases of attempts that were abandoned, and of golden tasks that did not come home.
    pub(super) lost: u32,
    /// A golden task is out, and has not been given up.
    pub(super) golden_out: bool,
    /// Sessions that there seems to be room for.
    pub(super) allowed: u32,
    /// How often room was found to be less than thought, since it last was not.
    pub(super) squeezed: u32,
    /// Golden tasks that failed in a row.
    pub(super) golden_failures: u32,
    /// When the golden task that is out is given up.
    pub(super) golden_until: Tick,
    /// Whether its golden task was put forward since it was last shut.
    pub(super) hastened: bool,
    /// Quarantines in a row without a task done in between.
    pub(super) relapses: u32,
    /// Whose failures are held against it, since its last success.
    pub(super) strikes: Vec<(JobId, TaskId)>,
    /// Time that it takes, relative to what its abilities say; learned.
    pub(super) pace: f64,
    /// Whether the last time seen was far above (`true`) or below what was expected.
    pub(super) odd: Option<bool>,
    class: u32,
    step: i32,
    group: GroupId,
    /// Where it is in the index: how many of its leases were out.
    indexed: Option<u32>,
    /// What it adds to its group's sessions.
    counted: u32,
    pub(super) account: Account,
}

impl Device {
    /// Leases that may go out now.
    pub(super) fn free(&self) -> u32 {
        if self.standing != Standing::Open {
            return 0;
        }
        let home = self.home.len() as u32;
        home.min(self.allowed.saturating_sub(self.out))
    }

    /// Leases that are not lost.
    pub(super) fn alive(&self) -> u32 {
        self.facts.sessions - self.lost
    }

    pub(super) fn home(&self) -> u32 {
        self.home.len() as u32
    }

    pub(super) fn group(&self) -> GroupId {
        self.group
    }

    fn counts(&self) -> Counts {
        let home = self.home();
        let mut counts = Counts {
            work: self.out,
            quarantine: u32::from(self.golden_out),
            lost: self.lost,
            ..Counts::default()
        };
        match self.standing {
            Standing::Open => {
                counts.idle = self.free();
                counts.barred = home - counts.idle;
            }
            Standing::Quarantined { .. } => counts.quarantine += home,
            Standing::Gone => counts.lost += home,
        }
        counts
    }
}

/// Devices that are as good as each other.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Those that are open.
    pub(super) members: BTreeSet<DeviceId>,
    /// Their sessions.
    pub(super) sessions: u32,
    /// Those that have a lease to give, the least busy first.
    idle: BTreeSet<(u32, DeviceId)>,
    /// When leases that are out should be home.
    pub(super) homes: BTreeSet<(Tick, AttemptId)>,
}

impl Group {
    /// The device whose lease is given next.
    pub(super) fn first_idle(&self) -> Option<DeviceId> {
        self.idle.first().map(|(_, device)| *device)
    }

    /// The first devices that have a lease to give.
    pub(super) fn idle_devices(&self, most: usize) -> impl Iterator<Item = DeviceId> {
        self.idle.iter().take(most).map(|(_, device)| *device)
    }

    /// The devices of the first idle leases, once for each lease.
    pub(super) fn idle_leases(&self, most: usize, devices: &Devices) -> Vec<DeviceId> {
        let leases =
            |(_, id): &(u32, DeviceId)| std::iter::repeat_n(*id, devices.get(*id).free() as usize);
        self.idle.iter().flat_map(leases).take(most).collect()
    }
}

/// All devices. The only place where leases are made and kept.
#[derive(Debug)]
pub(super) struct Devices {
    all: Vec<Device>,
    pub(super) groups: Vec<Group>,
    by_key: BTreeMap<(u32, i32), GroupId>,
    /// Groups that have a lease to give.
    pub(super) idle_groups: BTreeSet<GroupId>,
    /// Groups that have an open device.
    pub(super) open_groups: BTreeSet<GroupId>,
    /// Sessions of open devices.
    pub(super) sessions: u32,
    /// Leases that may go out now.
    pub(super) free: u32,
    /// Those in quarantine.
    pub(super) quarantined: BTreeSet<DeviceId>,
    pub(super) clock: Clock,
}

impl Devices {
    pub(super) fn new(facts: Vec<DeviceFacts>) -> Self {
        let all = facts
            .into_iter()
            .zip(0..)
            .map(|(facts, place)| new_device(facts, DeviceId::new(place)))
            .collect();
        let mut devices = Self {
            all,
            groups: Vec::new(),
            by_key: BTreeMap::new(),
            idle_groups: BTreeSet::new(),
            open_groups: BTreeSet::new(),
            sessions: 0,
            free: 0,
            quarantined: BTreeSet::new(),
            clock: Clock::new(),
        };
        devices.reclass(|_| 0);
        devices
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (DeviceId, &Device)> {
        (0..).map(DeviceId::new).zip(&self.all)
    }

    pub(super) fn get(&self, device: DeviceId) -> &Device {
        &self.all[device.place()]
    }

    /// Changes a device and brings the index up to date.
    pub(super) fn change<T>(&mut self, id: DeviceId, how: impl FnOnce(&mut Device) -> T) -> T {
        self.unindex(id);
        let result = how(&mut self.all[id.place()]);
        self.index(id);
        result
    }

    /// Takes a lease of the device; `None` if it has none to give.
    pub(super) fn take(&mut self, id: DeviceId) -> Option<Lease> {
        self.change(id, |device| {
            if device.free() == 0 {
                return None;
            }
            device.out += 1;
            device.home.pop()
        })
    }

    /// Takes a lease of a device in quarantine for a golden task.
    pub(super) fn take_golden(&mut self, id: DeviceId) -> Option<Lease> {
        self.change(id, |device| {
            let lease = device.home.pop()?;
            device.golden_out = true;
            Some(lease)
        })
    }

    /// A lease comes home; `how` takes it off the books on which it was.
    pub(super) fn put(&mut self, lease: Lease, how: impl FnOnce(&mut Device)) {
        self.change(lease.device(), |device| {
            how(device);
            device.home.push(lease);
        });
    }

    /// Groups the devices anew, by what `class` says of each.
    pub(super) fn reclass(&mut self, class: impl Fn(DeviceId) -> u32) {
        for place in 0..self.all.len() {
            let id = DeviceId::new(place as u16);
            self.unindex(id);
            self.all[place].class = class(id);
            self.index(id);
        }
    }

    fn unindex(&mut self, id: DeviceId) {
        let device = &mut self.all[id.place()];
        let Some(group) = self.groups.get_mut(device.group) else {
            return;
        };
        self.free -= device.free();
        if let Some(busy) = device.indexed.take() {
            group.idle.remove(&(busy, id));
            if group.idle.is_empty() {
                self.idle_groups.remove(&device.group);
            }
        }
    }

    fn index(&mut self, id: DeviceId) {
        self.regroup(id);
        let device = &mut self.all[id.place()];
        let free = device.free();
        self.free += free;
        if free > 0 {
            device.indexed = Some(device.out);
            self.groups[device.group].idle.insert((device.out, id));
            self.idle_groups.insert(device.group);
        }
        device.account.set(&self.clock, device.counts());
        if matches!(device.standing, Standing::Quarantined { .. }) {
            self.quarantined.insert(id);
        } else {
            self.quarantined.remove(&id);
        }
    }

    /// Puts the device into the group that it belongs to now.
    fn regroup(&mut self, id: DeviceId) {
        let device = &mut self.all[id.place()];
        let step = device.pace.ln() / PACE_STEP.ln();
        // A pace that wavers about a limit does not move the device to and fro.
        if (step - f64::from(device.step)).abs() > 0.75 {
            device.step = step.round() as i32;
        }
        let next = self.groups.len();
        let key = (device.class, device.step);
        let group = *self.by_key.entry(key).or_insert(next);
        if group == next {
            self.groups.push(Group::default());
        }
        let open = device.standing == Standing::Open;
        let counts = if open {
            device.allowed.min(device.facts.sessions - device.lost)
        } else {
            0
        };
        if device.group != group || counts != device.counted {
            if let Some(old) = self.groups.get_mut(device.group) {
                old.members.remove(&id);
                old.sessions -= device.counted;
                if old.members.is_empty() {
                    self.open_groups.remove(&device.group);
                }
            }
            self.sessions = self.sessions - device.counted + counts;
            device.counted = counts;
            device.group = group;
            if counts > 0 {
                self.groups[group].members.insert(id);
                self.groups[group].sessions += counts;
                self.open_groups.insert(group);
            }
        }
    }

    /// Says what is wrong with the books, if anything is.
    pub(super) fn check(&self) -> Result<(), String> {
        let (mut free, mut sessions) = (0, 0);
        for (id, device) in self.iter() {
            let golden = u32::from(device.golden_out);
            let sum = device.home() + device.out + device.lost + golden;
            if sum != device.facts.sessions {
                return Err(format!(
                    "device {}: {} home, {} out, {} lost, {golden} golden, of {} leases",
                    id.place(),
                    device.home(),
                    device.out,
                    device.lost,
                    device.facts.sessions
                ));
            }
            free += device.free();
            sessions += device.counted;
        }
        if free != self.free || sessions != self.sessions {
            return Err(format!(
                "{free} leases free, {} in the books; {sessions} sessions, {} in the books",
                self.free, self.sessions
            ));
        }
        Ok(())
    }
}

fn new_device(facts: DeviceFacts, id: DeviceId) -> Device {
    // Taken from the end: session 0 goes out first.
    let home: Vec<Lease> = (0..facts.sessions)
        .rev()
        .map(|session| Lease::new(id, session))
        .collect();
    Device {
        allowed: facts.sessions,
        account: Account::new(facts.sessions),
        facts,
        standing: Standing::Open,
        home,
        out: 0,
        lost: 0,
        golden_out: false,
        squeezed: 0,
        golden_failures: 0,
        golden_until: Tick::ZERO,
        hastened: false,
        relapses: 0,
        strikes: Vec::new(),
        pace: 1.0,
        odd: None,
        class: 0,
        step: 0,
        group: GroupId::MAX,
        indexed: None,
        counted: 0,
    }
}
