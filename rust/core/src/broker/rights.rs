//! Who may publish and subscribe what.
//!
//! Of the rules that name a client, the first that matches a topic decides. Where none does, the broker's own user may do everything,
//! and others may do everything but `control`. A subscription is allowed if every topic that it can match is. Rights are worked out
//! once per connection and asked once per topic and route: a client whom nothing is forbidden has none to ask.

use std::sync::Arc;

use super::route::Route;
use super::router::Router;
use crate::error::{Error, Result};
use crate::topic::cover::{self, Cover, TopicRule};
use crate::topic::{Pattern, excerpt};
use crate::transport::{Sid, User};
use crate::wire::auth::Token;

/// What others than the broker's own user may not do unless a rule lets them.
const CLOSED: &str = "control.#";

/// One rule; see [`BrokerConfig::rules`](super::BrokerConfig::rules).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whom it names: all of these uids; `None`: every uid. Unix only.
    pub uids: Option<Vec<u32>>,
    /// The same by SID. Windows only, where a number can be that of several users.
    pub sids: Option<Vec<Sid>>,
    /// And of them those who proved a token of one of these names; `None`: everybody.
    pub tokens: Option<Vec<String>>,
    /// Patterns of topics to publish.
    pub publish: Vec<String>,
    /// Patterns of topics to subscribe.
    pub subscribe: Vec<String>,
    pub allow: bool,
}

impl Rule {
    fn names(&self, user: &User, token: Option<&str>) -> bool {
        let uid_fits = self.uids.as_ref().is_none_or(|uids| uids.contains(&user.uid));
        let is_user = |sids: &Vec<Sid>| user.sid.as_ref().is_some_and(|sid| sids.contains(sid));
        let sid_fits = self.sids.as_ref().is_none_or(is_user);
        let token_fits = |tokens: &Vec<String>| token.is_some_and(|token| tokens.iter().any(|name| name == token));
        uid_fits && sid_fits && self.tokens.as_ref().is_none_or(token_fits)
    }

    /// Checks it against the `tokens` that a client can have proved and the segments that a topic may have.
    pub(super) fn validate(&self, tokens: &[Token], max_depth: usize) -> Result<()> {
        if self.publish.is_empty() && self.subscribe.is_empty() {
            return Err(Error::invalid(
                "rules",
                "a rule has neither publish nor subscribe, so it says nothing; name patterns",
            ));
        }
        let empty = [
            self.uids.as_ref().is_some_and(Vec::is_empty),
            self.sids.as_ref().is_some_and(Vec::is_empty),
            self.tokens.as_ref().is_some_and(Vec::is_empty),
        ];
        if empty.contains(&true) {
            return Err(Error::invalid(
                "rules",
                "an empty list names nobody; leave it out where everybody is meant",
            ));
        }
        if cfg!(windows) && self.uids.is_some() {
            return Err(Error::invalid(
                "rules",
                "a rule has uids, and on Windows several users may have one number; name them by sids",
            ));
        }
        if cfg!(unix) && self.sids.is_some() {
            return Err(Error::invalid(
                "rules",
                "a rule has sids, which nobody has on Unix; name users by uids",
            ));
        }
        let known = |name: &String| tokens.iter().any(|token| token.name() == Some(name.as_str()));
        if let Some(name) = self.tokens.iter().flatten().find(|name| !known(name)) {
            return Err(Error::invalid(
                "rules",
                format!("no token is named {name:?}; give token as a mapping from names to secrets"),
            ));
        }
        for pattern in self.publish.iter().chain(&self.subscribe) {
            Pattern::parse(pattern, max_depth).map_err(|error| Error::invalid("rules", error.to_string()))?;
        }
        Ok(())
    }
}

/// What one client may not do.
pub(super) struct Rights {
    /// As whom the rules know it, for texts: the secret of a token is in none.
    who: String,
    publish: Vec<TopicRule>,
    subscribe: Vec<TopicRule>,
    max_depth: usize,
    /// The route of what may not be published.
    refused: Arc<Route>,
}

impl Rights {
    /// Those that `rules` leave `user` who has proved `token`; `None` if it may do everything.
    pub(super) fn of(
        rules: &[Rule],
        max_depth: usize,
        own_uid: u32,
        user: &User,
        token: Option<&str>,
    ) -> Option<Arc<Self>> {
        let mut rights = Self {
            who: match token {
                Some(name) => format!("uid {} with the token {:?}", user.uid, excerpt(name)),
                None => format!("uid {}", user.uid),
            },
            publish: Vec::new(),
            subscribe: Vec::new(),
            max_depth,
            refused: Arc::new(Route::refused()),
        };
        let parse = |text: &str| Pattern::parse(text, max_depth.max(2)).ok();
        for rule in rules.iter().filter(|rule| rule.names(user, token)) {
            for (patterns, topic_rules) in [
                (&rule.publish, &mut rights.publish),
                (&rule.subscribe, &mut rights.subscribe),
            ] {
                // The configuration was checked, so each of them is a pattern.
                topic_rules.extend(patterns.iter().filter_map(|text| Some((parse(text)?, rule.allow))));
            }
        }
        if user.uid != own_uid {
            let closed = parse(CLOSED);
            rights.publish.extend(closed.clone().map(|pattern| (pattern, false)));
            rights.subscribe.extend(closed.map(|pattern| (pattern, false)));
        }
        let restricts = |topic_rules: &[TopicRule]| topic_rules.iter().any(|(_, allow)| !allow);
        (restricts(&rights.publish) || restricts(&rights.subscribe)).then(|| Arc::new(rights))
    }

    fn may_publish(&self, topic: &str) -> bool {
        cover::allows(&self.publish, topic)
    }

    /// What stands in the place of the route of a topic that may not be published.
    fn refused_route(&self) -> Arc<Route> {
        Arc::clone(&self.refused)
    }

    /// Why one of these patterns may not be subscribed.
    pub(super) fn refuse_subscription(&self, patterns: &[Pattern]) -> Option<String> {
        let mut work = cover::MAX_WORK;
        patterns.iter().find_map(|pattern| {
            let why = match cover::allows_every(&self.subscribe, pattern, self.max_depth, &mut work) {
                Cover::Every => return None,
                Cover::NotEvery => "not every topic that it matches is allowed",
                Cover::Undecided => "what it matches meets too many rules to decide",
            };
            let (who, pattern) = (&self.who, pattern.as_str());
            Some(format!(
                "{who} may not subscribe {pattern:?}: {why}; name what the broker's rules allow (without rules all but control.#), or have them allow this"
            ))
        })
    }

    /// `on`: which topic, as far as it is not told apart from this.
    pub(super) fn publish_refusal(&self, on: &str) -> String {
        format!("{} may not publish on {on}; have the broker's rules allow it", self.who)
    }
}

/// Who reads a topic, if the publisher may publish there.
pub(super) fn look_up(router: &Router, rights: Option<&Rights>, topic: &str) -> Arc<Route> {
    match rights {
        Some(rights) if !rights.may_publish(topic) => rights.refused_route(),
        _ => router.resolve(topic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 1;
    const OTHER: u32 = 2;

    /// Whether `uid`, who has proved `token`, may publish on a topic under these rules.
    fn may(rules: &[Rule], max_depth: usize, uid: u32, token: Option<&str>, topic: &str) -> bool {
        let user = User { uid, sid: None };
        Rights::of(rules, max_depth, OWN, &user, token).is_none_or(|rights| rights.may_publish(topic))
    }

    fn forbids(uids: Option<&[u32]>, tokens: Option<&[&str]>) -> Rule {
        Rule {
            uids: uids.map(<[u32]>::to_vec),
            sids: None,
            tokens: tokens.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
            publish: vec!["#".to_owned()],
            subscribe: Vec::new(),
            allow: false,
        }
    }

    #[test]
    fn a_rule_names_whom_both_of_its_lists_name() {
        let topic = "events.x";
        // Of the rule: uids and tokens. Of the client: uid and token. Whether it is named.
        for (uids, tokens, uid, token, named) in [
            (None, None, OTHER, None, true),
            (Some(&[OTHER][..]), None, OTHER, None, true),
            (Some(&[7, OTHER]), None, OTHER, Some("agent"), true),
            (Some(&[7]), None, OTHER, Some("agent"), false),
            (None, Some(&["agent"][..]), OTHER, Some("agent"), true),
            (None, Some(&["other", "agent"]), OTHER, Some("agent"), true),
            (None, Some(&["other"]), OTHER, Some("agent"), false),
            (None, Some(&["agent"]), OTHER, None, false),
            (Some(&[OTHER]), Some(&["agent"]), OTHER, Some("agent"), true),
            (Some(&[7]), Some(&["agent"]), OTHER, Some("agent"), false),
            (Some(&[OTHER]), Some(&["other"]), OTHER, Some("agent"), false),
        ] {
            let rules = [forbids(uids, tokens)];
            assert_eq!(!may(&rules, 8, uid, token, topic), named, "{rules:?}, {uid}, {token:?}");
        }
        // On Unix nobody has a SID, so a rule that asks for one names nobody.
        let sids = Some(Vec::new());
        assert!(may(
            &[Rule {
                sids,
                ..forbids(None, None)
            }],
            8,
            OTHER,
            None,
            topic
        ));
    }

    #[test]
    fn control_is_closed_to_others_however_deep_topics_may_be() {
        for depth in [1, 2, 8] {
            assert!(!may(&[], depth, OTHER, None, "control"), "{depth}");
            assert!(may(&[], depth, OWN, None, "control"), "{depth}");
            assert!(may(&[], depth, OTHER, None, "events"), "{depth}");
        }
        assert!(!may(&[], 8, OTHER, None, "control.x"));
        let allows = Rule {
            allow: true,
            ..forbids(Some(&[OTHER]), None)
        };
        assert!(may(&[allows], 8, OTHER, None, "control.x"), "a rule lets them");
    }

    #[test]
    fn who_may_not_subscribe_control_is_told_what_for() {
        let user = User { uid: OTHER, sid: None };
        let rights = Rights::of(&[], 8, OWN, &user, None).unwrap();
        let refused = |text| rights.refuse_subscription(&[Pattern::parse(text, 8).unwrap()]);
        assert!(refused("events.#").is_none());
        for pattern in ["control.x", "#", "+.x"] {
            let why = refused(pattern).unwrap();
            assert!(why.contains("uid 2 ") && why.contains(pattern), "{why}");
        }
        assert!(rights.publish_refusal("this topic").contains("uid 2 "));
    }
}
