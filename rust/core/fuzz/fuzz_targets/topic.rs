//! Topics, patterns and the trie, against brute force.
#![no_main]

use daemoneye_eventbus_core::topic::{self, Matcher, Pattern};
use daemoneye_eventbus_fuzz::naive;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    let lines: Vec<&str> = data.split('\n').take(32).collect();
    let mut matcher = Matcher::default();
    let mut patterns = Vec::new();
    for (key, line) in lines.iter().enumerate() {
        if let Ok(pattern) = Pattern::parse(line, 8) {
            assert_eq!(pattern.is_exact(), !line.contains(['*', '+', '#']));
            assert!(matcher.insert(&pattern, key));
            patterns.push((pattern, key));
        }
    }
    for line in &lines {
        let topic = topic::check(line, 8);
        assert_eq!(topic.is_ok(), naive::is_topic(line, 8), "{line:?}");
        let Ok(_) = topic else { continue };
        let segments = naive::split(line);
        let mut found = Vec::new();
        matcher.find(line, |pattern, key| found.push((pattern.clone(), key)));
        found.sort_by_key(|(_, key)| *key);
        let expected: Vec<_> = patterns
            .iter()
            .filter(|(pattern, _)| naive::matches(&naive::split(pattern.as_str()), &segments))
            .cloned()
            .collect();
        assert_eq!(found, expected, "{line:?}");
        for (pattern, _) in &patterns {
            let brute = naive::matches(&naive::split(pattern.as_str()), &segments);
            assert_eq!(pattern.matches(line), brute, "{pattern:?} {line:?}");
        }
    }
    for (pattern, key) in &patterns {
        assert!(matcher.remove(pattern, *key));
    }
    assert!(matcher.is_empty());
});
