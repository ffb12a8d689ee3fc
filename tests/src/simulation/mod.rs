//! A deterministic simulator of what a session may rely on, whatever happens around it.
//!
//! Clients, models, clock and failures are made up from a seed; request scanning, session memory and policy
//! are the real ones, called in the order in which the data plane calls them. There is no network, no thread
//! and no clock, so that a seed is all that it takes to see a run again.

mod client;
mod oracle;
mod random;
mod setup;
mod world;

pub use world::World;

/// A rule that a run deliberately breaks, to prove that the simulator would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing is broken.
    None,
    /// Tool calls and responses are not pinned.
    ForgetPins,
    /// Turns that failed upstream are remembered as if they had been served.
    CommitFailures,
    /// The decision does not see that a request carries tool results.
    OverlookResults,
    /// A crash loses session memory.
    LoseMemory,
    /// Locks whose model is missing are released although the configuration says to refuse.
    AlwaysRelease,
}

/// What a run is made from.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Same seed, same run.
    pub seed: u64,
    /// Steps to take.
    pub steps: usize,
    /// A rule to break.
    pub sabotage: Sabotage,
}

/// What happened in a run, for a test to tell that it exercised anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Turns decided.
    pub turns: u64,
    /// Of those, turns that a lock had to hold, and whose model could serve.
    pub held: u64,
    /// Locks broken because the configuration says so.
    pub released: u64,
    /// Turns refused because the configuration says so.
    pub refused: u64,
    /// Turns of a session on another model than its turn before, without a lock.
    pub switched: u64,
    /// Turns that failed upstream or whose answer was lost.
    pub failed: u64,
    /// Times that the process died.
    pub crashes: u64,
    /// Configurations loaded.
    pub reloads: u64,
    /// Sessions or pins forgotten for want of room.
    pub evicted: u64,
    /// Turns for which session memory had no room.
    pub full: u64,
}

impl Tally {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.turns += other.turns;
        self.held += other.held;
        self.released += other.released;
        self.refused += other.refused;
        self.switched += other.switched;
        self.failed += other.failed;
        self.crashes += other.crashes;
        self.reloads += other.reloads;
        self.evicted += other.evicted;
        self.full += other.full;
    }
}

/// A promise that was broken.
#[derive(Debug)]
pub struct Violation {
    /// The run in which it was.
    pub run: Run,
    /// Which promise.
    pub what: String,
    /// The steps that led there.
    pub trace: Vec<String>,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        write!(f, "seed {} of {} steps: {}", self.run.seed, self.run.steps, self.what)
    }
}

/// Runs a simulation to its end.
///
/// # Errors
/// The first promise that is broken.
pub fn run(run: Run) -> Result<Tally, Box<Violation>> {
    World::new(run).run()
}
