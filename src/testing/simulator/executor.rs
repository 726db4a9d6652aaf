//! A single-threaded executor that schedules tasks in a random but reproducible order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use crate::{Spawn, Task};

/// Polls ready tasks in a random order that is determined by its seed.
pub(crate) struct Executor {
    tasks: BTreeMap<u64, Spawned>,
    inbox: Arc<Mutex<Inbox>>,
    random: fastrand::Rng,
    last_task: u64,
    last_group: u64,
}

/// A task, and the group with which it is dropped.
struct Spawned {
    task: Task,
    group: u64,
    ready: Arc<Ready>,
}

#[derive(Default)]
struct Inbox {
    spawned: Vec<(u64, Task)>,
    /// Numbers of the tasks that were woken.
    ready: Vec<u64>,
}

struct Ready {
    number: u64,
    is_queued: AtomicBool,
    inbox: Arc<Mutex<Inbox>>,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::Relaxed) {
            self.inbox.lock().unwrap().ready.push(self.number);
        }
    }
}

/// Spawns tasks into one group.
#[derive(Clone)]
pub(crate) struct Group {
    number: u64,
    inbox: Arc<Mutex<Inbox>>,
}

impl Spawn for Group {
    fn spawn(&self, task: Task) {
        self.inbox.lock().unwrap().spawned.push((self.number, task));
    }
}

/// Number of polls between two steps of the clock after which the tasks count as a busy loop.
const MAX_POLLS: usize = 5_000_000;

impl Executor {
    pub(crate) fn new(seed: u64) -> Executor {
        Executor {
            tasks: BTreeMap::new(),
            inbox: Arc::default(),
            random: fastrand::Rng::with_seed(seed),
            last_task: 0,
            last_group: 0,
        }
    }

    /// Creates a group of tasks.
    pub(crate) fn group(&mut self) -> Group {
        self.last_group += 1;
        Group { number: self.last_group, inbox: self.inbox.clone() }
    }

    /// Drops all tasks of a group.
    pub(crate) fn end(&mut self, group: &Group) {
        let mut last = 0;
        loop {
            self.receive_spawned();
            let next = self.tasks.range(last..).find(|(_, spawned)| spawned.group == group.number);
            let Some((&number, _)) = next else { break };
            // One by one: dropping a task may wake or spawn others.
            drop(self.tasks.remove(&number));
            last = number;
        }
    }

    /// Runs until no task is ready.
    pub(crate) fn run(&mut self) {
        for _ in 0..MAX_POLLS {
            self.receive_spawned();
            let Some(number) = self.pick() else { return };
            let Some(spawned) = self.tasks.get_mut(&number) else { continue };
            spawned.ready.is_queued.store(false, Ordering::Relaxed);
            let waker = Waker::from(spawned.ready.clone());
            if spawned.task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.tasks.remove(&number);
            }
        }
        panic!("the tasks never become idle");
    }

    fn pick(&mut self) -> Option<u64> {
        let ready = &mut self.inbox.lock().unwrap().ready;
        (!ready.is_empty()).then(|| ready.swap_remove(self.random.usize(..ready.len())))
    }

    fn receive_spawned(&mut self) {
        let spawned = std::mem::take(&mut self.inbox.lock().unwrap().spawned);
        for (group, task) in spawned {
            self.last_task += 1;
            let number = self.last_task;
            let (inbox, is_queued) = (self.inbox.clone(), AtomicBool::new(false));
            let ready = Arc::new(Ready { number, is_queued, inbox });
            ready.clone().wake();
            self.tasks.insert(number, Spawned { task, group, ready });
        }
    }
}
