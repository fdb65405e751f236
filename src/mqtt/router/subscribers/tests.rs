use proptest::prelude::*;

use super::*;
use crate::{
    domain::device::DeviceId,
    mqtt::link::{self, QoS},
};

fn subscribers(filters: usize, each: usize) -> Subscribers {
    Subscribers::new(&Limits { filters, filters_per_identity: each, ..Limits::default() })
}

fn account(subscribers: &Subscribers, id: i32) -> Account<Holder> {
    subscribers.account(Holder::Device(DeviceId(id)), Standing::Common)
}

fn message(topic: &str, sequence: u64) -> Message {
    let plain =
        link::Message { topic: topic.to_owned(), payload: vec![0; 100].into(), qos: QoS::AtLeastOnce, retain: false };
    Message { sequence, ..Message::plain(plain, 0) }
}

#[test]
fn a_topic_is_of_interest_while_somebody_has_a_filter_that_matches_it() {
    let (subscribers, (mailbox, _inbox)) = (subscribers(10, 10), mailbox());
    let (one, other): (Arc<str>, Arc<str>) = ("camera/1/detections".into(), "camera/1/events".into());
    let account = account(&subscribers, 1);
    assert!(!subscribers.has(&one));
    for filter in ["camera/+/detections", "camera/1/detections"] {
        let filter: Arc<str> = filter.into();
        subscribers.add((1, 1), &filter, 0, &account, mailbox.clone()).expect("room");
        assert!(subscribers.has(&one) && !subscribers.has(&other), "{filter}");
        subscribers.remove(1, [(1, &filter)].into_iter());
        assert!(!subscribers.has(&one), "{filter}");
    }
}

#[test]
fn a_topic_is_of_interest_until_the_last_of_a_filters_subscriptions_has_ended() {
    let (subscribers, (mailbox, _inbox)) = (subscribers(10, 10), mailbox());
    let account = account(&subscribers, 1);
    let has = |name: &str| subscribers.has(&name.into());
    let (plain, wide): (Arc<str>, Arc<str>) = ("a/b".into(), "c/+".into());
    for (number, filter) in [(1, &plain), (2, &plain), (3, &wide)] {
        subscribers.add((1, number), filter, 0, &account, mailbox.clone()).expect("room");
    }
    assert!(has("a/b") && has("c/d") && !has("a/c"));
    subscribers.remove(1, [(1, &plain)].into_iter());
    assert!(has("a/b"));
    subscribers.remove(1, [(2, &plain)].into_iter());
    assert!(!has("a/b") && has("c/d"));
    subscribers.remove(1, [(3, &wide)].into_iter());
    assert!(!has("c/d"));
}

#[test]
fn a_filter_that_nobody_has_any_more_gives_its_place_back() {
    let (subscribers, (mailbox, _inbox)) = (subscribers(8, 4), mailbox());
    let mine = account(&subscribers, 1);
    for number in 0..20_000 {
        let filter: Arc<str> = format!("camera/{number}/+").into();
        subscribers.add((1, number), &filter, 0, &mine, mailbox.clone()).expect("room");
        subscribers.remove(1, [(number, &filter)].into_iter());
    }
    assert_eq!(subscribers.places.taken(), 0);
    let table = subscribers.table.read();
    assert!(table.filters.is_empty() && table.wild.is_empty());
}

#[test]
fn nobody_has_all_filters() {
    let (subscribers, (mailbox, _inbox)) = (subscribers(8, 4), mailbox());
    let add = |id: i32, standing, text: String| {
        let account = subscribers.account(Holder::Device(DeviceId(id)), standing);
        subscribers.add((1, 1), &text.into(), 0, &account, mailbox.clone()).is_ok()
    };
    let added = |id, standing| (0..30).filter(|number| add(id, standing, format!("{id}/{number}"))).count();
    assert_eq!([1, 2, 3].map(|id| added(id, Standing::Common)), [4, 4, 0]);
    assert!(add(1, Standing::Common, "1/0".to_owned()), "in another session it needs no other place");
    assert_eq!(added(9, Standing::Vital), 16, "and these have the reserve");
}

#[test]
fn a_link_that_is_gone_is_not_subscribed_any_more() {
    let (subscribers, (mailbox, mut inbox)) = (subscribers(8, 4), mailbox());
    inbox.close();
    subscribers.add((1, 1), &"a".into(), 0, &account(&subscribers, 1), mailbox).expect("no fault");
    assert_eq!(subscribers.places.taken(), 0);
}

#[tokio::test]
async fn a_session_that_stands_still_misses_messages_and_the_others_do_not() {
    let subscribers = subscribers(8, 4);
    let ((slow, mut behind), (fast, mut well)) = (mailbox(), mailbox());
    let (account, overwritten) = (account(&subscribers, 1), Counter::default());
    subscribers.add((1, 1), &"a/+".into(), 0, &account, slow).expect("room");
    subscribers.add((2, 1), &"a/b".into(), 5, &account, fast).expect("room");
    let all = 20_000;
    let mut is_behind = false;
    for sequence in 1..=all {
        is_behind |= subscribers.deliver(&message("a/b", sequence), &overwritten);
        if sequence > 5 {
            assert_eq!(well.next().await.message.sequence, sequence);
        }
    }
    assert!(is_behind);
    let mut sequences = Vec::new();
    while sequences.len() as u64 + overwritten.get() < all {
        sequences.push(behind.next().await.message.sequence);
    }
    assert!(sequences.iter().copied().eq(1..=sequences.len() as u64), "the first ones, in order");
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["a", "b", "+", "", "$x"]);
    (prop::collection::vec(level, 1..4), any::<bool>()).prop_map(|(mut levels, all)| {
        if all {
            levels.push("#");
        }
        levels.join("/")
    })
}

proptest! {
    /// Whatever is subscribed to and ended, in whatever order: what is delivered is what the filters of the moment
    /// match.
    #[test]
    fn what_is_delivered_is_what_the_filters_match(
        steps in prop::collection::vec((filter().prop_filter("valid", |one| topic::valid_filter(one)), any::<bool>()), 1..40),
        names in prop::collection::vec(prop::collection::vec(prop::sample::select(vec!["a", "b", "", "$x"]), 1..4), 1..6),
    ) {
        let subscribers = subscribers(1000, 1000);
        let (mailbox, mut inbox) = mailbox();
        let account = account(&subscribers, 1);
        let mut mine: Vec<(usize, Arc<str>)> = Vec::new();
        for (number, (text, ends)) in steps.into_iter().enumerate() {
            if ends && !mine.is_empty() {
                let (number, filter) = mine.swap_remove(text.len() % mine.len());
                subscribers.remove(1, [(number, &filter)].into_iter());
            } else {
                let filter: Arc<str> = text.into();
                subscribers.add((1, number), &filter, 0, &account, mailbox.clone()).expect("room");
                mine.push((number, filter));
            }
            for name in names.iter().map(|levels| levels.join("/")).filter(|name| topic::valid_topic(name)) {
                let mut wanted: Vec<_> =
                    mine.iter().filter(|(_, filter)| topic::matches(filter, &name)).map(|(number, _)| *number).collect();
                prop_assert_eq!(subscribers.has(&name.as_str().into()), !wanted.is_empty());
                subscribers.deliver(&message(&name, 1), &Counter::default());
                let mut got: Vec<_> =
                    std::iter::from_fn(|| inbox.try_next()).map(|arrival| arrival.subscription).collect();
                got.sort_unstable();
                wanted.sort_unstable();
                prop_assert_eq!(got, wanted);
            }
        }
    }
}
