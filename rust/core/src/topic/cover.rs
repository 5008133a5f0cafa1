//! Whether a list of rules, of which the first match decides, allows all topics of one pattern.
//!
//! The topics that the patterns distinguish are searched segment by segment, together with the rules that still match: at each place only
//! the words that some rule names there, and one that none names, can make a difference. The answer is exact for topics of up to
//! `max_depth` segments of any length. Rules that name words at many different places under `+` could make this long, so it is
//! bounded: who asks is a peer.
use hashbrown::HashSet;
use smallvec::SmallVec;

use super::name::DOMAINS;
use super::pattern::{Pattern, Reach, Step, step};

/// Work that one asker may cause, in rules looked at. Rules as people write them need a few dozen for each pattern.
pub(crate) const MAX_WORK: usize = 2_000_000;

/// A pattern and whether what matches it is allowed.
pub(crate) type TopicRule = (Pattern, bool);

/// What [`allows_every`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cover {
    Every,
    NotEvery,
    /// Too many combinations; to be taken as no.
    Undecided,
}

/// Whether the first of `rules` that matches it allows `topic`, which is allowed where none does.
pub(crate) fn allows(rules: &[TopicRule], topic: &str) -> bool {
    rules
        .iter()
        .find(|(pattern, _)| pattern.matches(topic))
        .is_none_or(|(_, allow)| *allow)
}

/// Whether [`allows`] holds for every topic that `asked` can match. Takes what it costs from `work`, of which there is at most
/// [`MAX_WORK`].
pub(crate) fn allows_every(rules: &[TopicRule], asked: &Pattern, max_depth: usize, work: &mut usize) -> Cover {
    let mut search = Search {
        asked: PatternParts::of(asked),
        rules: rules
            .iter()
            .map(|(pattern, allow)| (PatternParts::of(pattern), *allow))
            .collect(),
        max_depth,
        seen: HashSet::new(),
        work,
    };
    let all = (0..search.rules.len()).collect();
    match search.all_allowed(0, all) {
        Some(true) => Cover::Every,
        Some(false) => Cover::NotEvery,
        None => Cover::Undecided,
    }
}

/// A pattern taken apart: what it says of each segment (`None`: any), and what may remain.
struct PatternParts<'p> {
    parts: Vec<Option<&'p str>>,
    reach: Reach,
}

impl<'p> PatternParts<'p> {
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

    fn accepts(&self, depth: usize, word: Option<&str>) -> bool {
        self.part(depth).is_some_and(|part| part.is_none() || part == word)
    }
}

/// Indices of the rules that still match.
type Candidates = SmallVec<[usize; 16]>;

struct Search<'p, 'w> {
    asked: PatternParts<'p>,
    rules: Vec<(PatternParts<'p>, bool)>,
    max_depth: usize,
    /// States found allowed: the depth, and the rules that still match.
    seen: HashSet<(usize, Candidates)>,
    work: &'w mut usize,
}

impl<'p> Search<'p, '_> {
    /// Whether every topic is allowed that begins with the `depth` segments chosen so far, which `asked` and the `candidates` match.
    fn all_allowed(&mut self, depth: usize, candidates: Candidates) -> Option<bool> {
        *self.work = self.work.checked_sub(candidates.len() + 1)?;
        let rules = &self.rules;
        if candidates
            .iter()
            .all(|at| rules.get(*at).is_none_or(|(_, allow)| *allow))
        {
            return Some(true);
        }
        if depth > 0 && self.asked.ends(depth) {
            let mut deciding = candidates.iter().filter_map(|at| rules.get(*at));
            if let Some((_, false)) = deciding.find(|(rule, _)| rule.ends(depth)) {
                return Some(false);
            }
        }
        let Some(part) = self.asked.part(depth).filter(|_| depth < self.max_depth) else {
            return Some(true);
        };
        if !self.seen.insert((depth, candidates.clone())) {
            return Some(true);
        }
        if part.is_some() {
            return self.all_allowed(depth + 1, self.candidates_for(depth, part, &candidates));
        }
        if depth == 0 {
            for (domain, _) in DOMAINS {
                match self.all_allowed(1, self.candidates_for(0, Some(domain), &candidates)) {
                    Some(true) => {}
                    other => return other,
                }
            }
            return Some(true);
        }
        self.search_each_word(depth, &candidates)
    }

    /// Those of `candidates` that accept `word` at `depth`; `None` is a word that no rule names.
    fn candidates_for(&self, depth: usize, word: Option<&str>, candidates: &Candidates) -> Candidates {
        let agrees = |at: &usize| self.rules.get(*at).is_some_and(|(rule, _)| rule.accepts(depth, word));
        candidates.iter().copied().filter(agrees).collect()
    }

    /// Tries each word that a rule names at `depth`, and one that none names. A rule that names a word is only looked at for that.
    fn search_each_word(&mut self, depth: usize, candidates: &Candidates) -> Option<bool> {
        let any = self.candidates_for(depth, None, candidates);
        let named = |at: &usize| Some((self.rules.get(*at)?.0.part(depth)??, *at));
        let mut named: Vec<(&'p str, usize)> = candidates.iter().filter_map(named).collect();
        named.sort_unstable();
        for of_word in named.chunk_by(|(one, _), (two, _)| one == two) {
            let mut candidates = any.clone();
            candidates.extend(of_word.iter().map(|(_, at)| *at));
            candidates.sort_unstable();
            match self.all_allowed(depth + 1, candidates) {
                Some(true) => {}
                other => return other,
            }
        }
        self.all_allowed(depth + 1, any)
    }
}
