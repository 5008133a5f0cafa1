//! What a list of patterns, the first that matches deciding, says about all topics of one pattern.
//!
//! The topics that patterns tell apart are walked segment by segment, together with the rules that still match: at each place only the
//! words that some rule names there, and one that none names, can make a difference. The answer is exact for topics of up to
//! `max_depth` segments of any length. Rules that name words at many different places under `+` could make this long, so it is
//! bounded: who asks is a peer.
use hashbrown::HashSet;
use smallvec::SmallVec;

use super::name::DOMAINS;
use super::pattern::{Pattern, Reach, Step, step};

/// Work that one asker may cause, in rules looked at. Rules as people write them need a few dozen for each pattern.
pub(crate) const MOST_WORK: usize = 2_000_000;

/// A pattern and whether what matches it is allowed.
pub(crate) type Ruling = (Pattern, bool);

/// What [`allows_every`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cover {
    Every,
    NotEvery,
    /// Too many combinations; to be taken as no.
    Undecided,
}

/// Whether the first of `rules` that matches it allows `topic`, which is allowed where none does.
pub(crate) fn allows(rules: &[Ruling], topic: &str) -> bool {
    rules
        .iter()
        .find(|(pattern, _)| pattern.matches(topic))
        .is_none_or(|(_, allow)| *allow)
}

/// Whether [`allows`] holds for every topic that `asked` can match. Takes what it costs from `work`, of which there is at most
/// [`MOST_WORK`].
pub(crate) fn allows_every(rules: &[Ruling], asked: &Pattern, max_depth: usize, work: &mut usize) -> Cover {
    let mut walk = Walk {
        asked: Shape::of(asked),
        rules: rules
            .iter()
            .map(|(pattern, allow)| (Shape::of(pattern), *allow))
            .collect(),
        max_depth,
        seen: HashSet::new(),
        work,
    };
    let all = (0..walk.rules.len()).collect();
    match walk.go(0, all) {
        Some(true) => Cover::Every,
        Some(false) => Cover::NotEvery,
        None => Cover::Undecided,
    }
}

/// A pattern taken apart: what it says of each segment (`None`: any), and what may remain.
struct Shape<'p> {
    parts: Vec<Option<&'p str>>,
    reach: Reach,
}

impl<'p> Shape<'p> {
    fn of(pattern: &'p Pattern) -> Self {
        let mut parts = Vec::new();
        let mut rest = Some(pattern.as_str());
        loop {
            rest = match step(rest) {
                Step::Literal(literal, rest) => {
                    parts.push(Some(literal));
                    rest
                }
                Step::Any(rest) => {
                    parts.push(None);
                    rest
                }
                Step::End(reach) => return Self { parts, reach },
            };
        }
    }

    /// What the segment at `depth` must be; `None`: there may be none.
    fn part(&self, depth: usize) -> Option<Option<&'p str>> {
        match self.parts.get(depth) {
            Some(part) => Some(*part),
            None => (self.reach != Reach::Nothing).then_some(None),
        }
    }

    /// Whether a topic that agreed so far and has `depth` segments is matched.
    fn ends(&self, depth: usize) -> bool {
        let len = self.parts.len();
        match self.reach {
            Reach::Nothing => depth == len,
            Reach::OneOrMore => depth > len,
            Reach::ZeroOrMore => depth >= len,
        }
    }

    fn takes(&self, depth: usize, word: Option<&str>) -> bool {
        self.part(depth).is_some_and(|part| part.is_none() || part == word)
    }
}

type Alive = SmallVec<[usize; 16]>;

struct Walk<'p, 'w> {
    asked: Shape<'p>,
    rules: Vec<(Shape<'p>, bool)>,
    max_depth: usize,
    /// What has been found good: so many segments chosen, and these rules still matching.
    seen: HashSet<(usize, Alive)>,
    work: &'w mut usize,
}

impl<'p> Walk<'p, '_> {
    /// Whether all goes well from here on, `depth` segments having been chosen that `asked` and the `alive` rules agree with.
    fn go(&mut self, depth: usize, alive: Alive) -> Option<bool> {
        *self.work = self.work.checked_sub(alive.len() + 1)?;
        let rules = &self.rules;
        if alive.iter().all(|at| rules.get(*at).is_none_or(|(_, allow)| *allow)) {
            return Some(true);
        }
        if depth > 0 && self.asked.ends(depth) {
            let mut deciding = alive.iter().filter_map(|at| rules.get(*at));
            if let Some((_, false)) = deciding.find(|(rule, _)| rule.ends(depth)) {
                return Some(false);
            }
        }
        let Some(part) = self.asked.part(depth).filter(|_| depth < self.max_depth) else {
            return Some(true);
        };
        if !self.seen.insert((depth, alive.clone())) {
            return Some(true);
        }
        if part.is_some() {
            return self.go(depth + 1, self.agreeing(depth, part, &alive));
        }
        if depth == 0 {
            for (domain, _) in DOMAINS {
                match self.go(1, self.agreeing(0, Some(domain), &alive)) {
                    Some(true) => {}
                    other => return other,
                }
            }
            return Some(true);
        }
        self.go_each_way(depth, &alive)
    }

    /// Those of `alive` that take `word` at `depth`; `None` is a word that none names.
    fn agreeing(&self, depth: usize, word: Option<&str>, alive: &Alive) -> Alive {
        let agrees = |at: &usize| self.rules.get(*at).is_some_and(|(rule, _)| rule.takes(depth, word));
        alive.iter().copied().filter(agrees).collect()
    }

    /// Each word that makes a difference at `depth`, and one that nobody names. Rules that name one are looked at for that alone.
    fn go_each_way(&mut self, depth: usize, alive: &Alive) -> Option<bool> {
        let any = self.agreeing(depth, None, alive);
        let named = |at: &usize| Some((self.rules.get(*at)?.0.part(depth)??, *at));
        let mut named: Vec<(&'p str, usize)> = alive.iter().filter_map(named).collect();
        named.sort_unstable();
        for of_word in named.chunk_by(|(one, _), (two, _)| one == two) {
            let mut alive = any.clone();
            alive.extend(of_word.iter().map(|(_, at)| *at));
            alive.sort_unstable();
            match self.go(depth + 1, alive) {
                Some(true) => {}
                other => return other,
            }
        }
        self.go(depth + 1, any)
    }
}
