//! Blocks and quotas: while an ad account or an app is blocked, every call of it is throttled again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::faults::{Hint, Throttle};

/// How many calls an ad account has, within a window that goes with the time. The usage headers tell how much of it is
/// used; of the app they tell the mean of its ad accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Calls for insights and reports, throttled ones included.
    pub calls: u32,
    pub window: Duration,
    /// The call beyond it opens a block: so long, and at least until a quarter of the quota is free again.
    pub block_seconds: u32,
}

/// How long after a throttle was sent a client may still not have read it.
pub(super) const ON_ITS_WAY: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    App(String),
    AdAccount(String),
}

/// A throttle with the time that is left of it.
#[derive(Debug, Clone)]
pub(super) struct Throttled {
    pub(super) scope: Scope,
    pub(super) kind: Throttle,
    pub(super) hint: Hint,
    /// Rounded up: who waits so long does not come too early.
    pub(super) seconds: u64,
    pub(super) came: Came,
    /// Whether the quota is used up, instead of a misfortune.
    pub(super) is_of_quota: bool,
}

/// When a throttled call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// It opened the block.
    First,
    /// Before the client could know of it.
    Unwarned,
    /// In spite of a throttle that said how long.
    Warned,
    /// After a throttle that did not say how long.
    Guessing,
}

#[derive(Debug)]
struct Block {
    kind: Throttle,
    hint: Hint,
    is_of_quota: bool,
    until: Instant,
    /// When the first throttle of it was sent.
    announced_at: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Blocks {
    open: BTreeMap<Scope, Block>,
    /// When each ad account was called, as far back as the window goes.
    calls: BTreeMap<String, VecDeque<Instant>>,
}

impl Blocks {
    /// A call of these scopes came; whether it is throttled for a block, or for the quota.
    pub(super) fn meet(&mut self, scopes: [&Scope; 2], quota: Option<Quota>, now: Instant) -> Option<Throttled> {
        self.open.retain(|_, block| block.until > now);
        let over = quota.and_then(|quota| scopes.iter().find_map(|scope| self.use_up(scope, quota, now)));
        let blocked = scopes.into_iter().find_map(|scope| self.open.get(scope).map(|block| block.meet(scope, now)));
        if blocked.is_some() {
            return blocked;
        }
        let (scope, until) = over?;
        let block = Block::new((Throttle::User, Hint::AdAccountUsage), until);
        Some(self.open(scope, Block { is_of_quota: true, ..block }, now))
    }

    /// Opens a block, and is the throttle that says so.
    pub(super) fn open_block(
        &mut self,
        scope: Scope,
        (kind, hint): (Throttle, Hint),
        lasts: Duration,
        now: Instant,
    ) -> Throttled {
        self.open(scope, Block::new((kind, hint), now + lasts), now)
    }

    fn open(&mut self, scope: Scope, block: Block, now: Instant) -> Throttled {
        let throttled = Throttled { came: Came::First, ..block.meet(&scope, now) };
        self.open.insert(scope, block);
        throttled
    }

    /// A throttle of this scope is on its way to the client.
    pub(super) fn announce(&mut self, scope: &Scope, now: Instant) {
        if let Some(block) = self.open.get_mut(scope) {
            block.announced_at.get_or_insert(now);
        }
    }

    /// How much of the quota is used, in percent: of the ad account, and the mean of all of them.
    pub(super) fn usage(&mut self, external_id: &str, quota: Quota, now: Instant) -> (usize, usize) {
        for calls in self.calls.values_mut() {
            forget(calls, quota, now);
        }
        let whole = usize::try_from(quota.calls).unwrap_or(usize::MAX).max(1);
        let used = self.calls.get(external_id).map_or(0, VecDeque::len);
        let all: usize = self.calls.values().map(VecDeque::len).sum();
        (used * 100 / whole, all * 100 / whole / self.calls.len().max(1))
    }

    /// Writes a call down. The instant until which the ad account is blocked, when there was no call left.
    fn use_up(&mut self, scope: &Scope, quota: Quota, now: Instant) -> Option<(Scope, Instant)> {
        let Scope::AdAccount(external_id) = scope else { return None };
        let calls = self.calls.entry(external_id.clone()).or_default();
        forget(calls, quota, now);
        calls.push_back(now);
        let whole = usize::try_from(quota.calls).unwrap_or(usize::MAX);
        if calls.len() <= whole {
            return None;
        }
        let free = calls.len() - whole * 3 / 4;
        let relief = calls.get(free - 1).map_or(now, |at| *at + quota.window);
        Some((scope.clone(), relief.max(now + Duration::from_secs(quota.block_seconds.into()))))
    }
}

impl Block {
    fn new((kind, hint): (Throttle, Hint), until: Instant) -> Self {
        Block { kind, hint, is_of_quota: false, until, announced_at: None }
    }

    fn meet(&self, scope: &Scope, now: Instant) -> Throttled {
        let left = self.until - now;
        let came = match self.announced_at {
            Some(at) if now > at + ON_ITS_WAY && self.hint.tells_end() => Came::Warned,
            Some(at) if now > at + ON_ITS_WAY => Came::Guessing,
            _ => Came::Unwarned,
        };
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        let Block { kind, hint, is_of_quota, .. } = *self;
        Throttled { scope: scope.clone(), kind, hint, seconds, came, is_of_quota }
    }
}

fn forget(calls: &mut VecDeque<Instant>, quota: Quota, now: Instant) {
    while calls.front().is_some_and(|at| *at + quota.window <= now) {
        calls.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = "act_1";

    fn scopes() -> [Scope; 2] {
        [Scope::App("app".into()), Scope::AdAccount(SHOP.into())]
    }

    fn meet(blocks: &mut Blocks, quota: Option<Quota>, now: Instant) -> Option<(u64, Came)> {
        let [app, account] = &scopes();
        blocks.meet([app, account], quota, now).map(|throttled| (throttled.seconds, throttled.came))
    }

    #[test]
    fn a_block_lasts_and_knows_who_could_have_known() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (kind, hint, late) in [
            (Throttle::User, Hint::RetryAfter, Came::Warned),
            (Throttle::App, Hint::AdAccountUsage, Came::Warned),
            (Throttle::User, Hint::Nothing, Came::Guessing),
            (Throttle::App, Hint::AppUsage, Came::Guessing),
        ] {
            let mut blocks = Blocks::default();
            assert_eq!(meet(&mut blocks, None, at(0)), None);
            let [app, account] = scopes();
            let scope = if kind.is_of_app() { app } else { account };
            let first = blocks.open_block(scope.clone(), (kind, hint), Duration::from_secs(2), at(0));
            assert_eq!((first.seconds, first.came), (2, Came::First));
            assert_eq!(meet(&mut blocks, None, at(400)), Some((2, Came::Unwarned)), "nothing was sent yet");
            blocks.announce(&scope, at(500));
            assert_eq!(meet(&mut blocks, None, at(550)), Some((2, Came::Unwarned)), "it is on its way");
            assert_eq!(meet(&mut blocks, None, at(551)), Some((2, late)));
            blocks.announce(&scope, at(560));
            assert_eq!(meet(&mut blocks, None, at(600)), Some((2, late)), "the first announcement counts");
            assert_eq!(meet(&mut blocks, None, at(1_001)), Some((1, late)));
            assert_eq!(meet(&mut blocks, None, at(2_000)), None, "who waits as long as it says comes in time");
        }
    }

    #[test]
    fn a_quota_is_told_in_percent_and_who_goes_on_is_blocked() {
        let quota = Quota { calls: 20, window: Duration::from_secs(100), block_seconds: 2 };
        let (mut blocks, start) = (Blocks::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..20 {
            assert_eq!(meet(&mut blocks, Some(quota), at(second)), None, "{second}");
            let used = usize::try_from(second + 1).unwrap() * 5;
            assert_eq!(blocks.usage(SHOP, quota, at(second)), (used, used));
        }
        // Of 21 calls 6 must leave the window until a quarter is free: the sixth came in second 5.
        assert_eq!(meet(&mut blocks, Some(quota), at(20)), Some((85, Came::First)));
        assert_eq!(meet(&mut blocks, Some(quota), at(104)), Some((1, Came::Unwarned)));
        assert_eq!(meet(&mut blocks, Some(quota), at(105)), None);
        let (used, _) = blocks.usage(SHOP, quota, at(105));
        assert_eq!(used, 85, "the calls that were throttled count too");
        assert_eq!(blocks.usage("act_2", quota, at(105)).0, 0);
    }
}
