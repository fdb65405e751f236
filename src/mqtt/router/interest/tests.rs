use proptest::prelude::*;

use super::*;
use crate::{
    domain::device::DeviceId,
    mqtt::link::{self, QoS},
};

fn interest(filters: usize, each: usize) -> Interest {
    Interest::new(&Limits { filters, filters_per_identity: each, ..Limits::default() })
}

fn account(interest: &Interest, id: i32) -> Account<Holder> {
    interest.account(Holder::Device(DeviceId(id)), Standing::Common)
}

fn message(topic: &str, place: u64) -> Message {
    let plain =
        link::Message { topic: topic.to_owned(), payload: vec![0; 100].into(), qos: QoS::AtLeastOnce, retain: false };
    Message { place, ..Message::plain(plain, 0) }
}

#[test]
fn a_topic_is_of_interest_while_somebody_has_a_filter_that_matches_it() {
    let (interest, (mailbox, _inbox)) = (interest(10, 10), mailbox());
    let (one, other): (Arc<str>, Arc<str>) = ("camera/1/detections".into(), "camera/1/events".into());
    let account = account(&interest, 1);
    assert!(!interest.has(&one));
    for filter in ["camera/+/detections", "camera/1/detections"] {
        let filter: Arc<str> = filter.into();
        interest.add((1, 1), &filter, 0, &account, mailbox.clone()).expect("room");
        assert!(interest.has(&one) && !interest.has(&other), "{filter}");
        interest.remove(1, [(1, &filter)].into_iter());
        assert!(!interest.has(&one), "{filter}");
    }
}

#[test]
fn a_filter_that_nobody_has_any_more_gives_its_place_back() {
    let (interest, (mailbox, _inbox)) = (interest(8, 4), mailbox());
    let mine = account(&interest, 1);
    for number in 0..20_000 {
        let filter: Arc<str> = format!("camera/{number}/+").into();
        interest.add((1, number), &filter, 0, &mine, mailbox.clone()).expect("room");
        interest.remove(1, [(number, &filter)].into_iter());
    }
    assert_eq!(interest.places.taken(), 0);
    let listening = interest.listening.read();
    assert!(listening.filters.is_empty() && listening.wild.is_empty());
}

#[test]
fn nobody_has_all_filters() {
    let (interest, (mailbox, _inbox)) = (interest(8, 4), mailbox());
    let add = |id: i32, standing, text: String| {
        let account = interest.account(Holder::Device(DeviceId(id)), standing);
        interest.add((1, 1), &text.into(), 0, &account, mailbox.clone()).is_ok()
    };
    let added = |id, standing| (0..30).filter(|number| add(id, standing, format!("{id}/{number}"))).count();
    assert_eq!([1, 2, 3].map(|id| added(id, Standing::Common)), [4, 4, 0]);
    assert!(add(1, Standing::Common, "1/0".to_owned()), "in another session it needs no other place");
    assert_eq!(added(9, Standing::Vital), 16, "and these have the reserve");
}

#[test]
fn a_link_that_is_gone_is_not_subscribed_any_more() {
    let (interest, (mailbox, mut inbox)) = (interest(8, 4), mailbox());
    inbox.close();
    interest.add((1, 1), &"a".into(), 0, &account(&interest, 1), mailbox).expect("no fault");
    assert_eq!(interest.places.taken(), 0);
}

#[tokio::test]
async fn a_session_that_stands_still_misses_messages_and_the_others_do_not() {
    let interest = interest(8, 4);
    let ((slow, mut behind), (fast, mut well)) = (mailbox(), mailbox());
    let (account, overwritten) = (account(&interest, 1), Count::default());
    interest.add((1, 1), &"a/+".into(), 0, &account, slow).expect("room");
    interest.add((2, 1), &"a/b".into(), 5, &account, fast).expect("room");
    let all = 20_000;
    let mut is_behind = false;
    for place in 1..=all {
        is_behind |= interest.deliver(&message("a/b", place), &overwritten);
        if place > 5 {
            assert_eq!(well.next().await.message.place, place);
        }
    }
    assert!(is_behind);
    let mut places = Vec::new();
    while places.len() as u64 + overwritten.get() < all {
        places.push(behind.next().await.message.place);
    }
    assert!(places.iter().copied().eq(1..=places.len() as u64), "the first ones, in order");
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
    /// Whatever is subscribed to and ended, in whatever order: what is delivered is what the filters of the moment match.
    #[test]
    fn what_is_delivered_is_what_the_filters_match(
        steps in prop::collection::vec((filter().prop_filter("valid", |one| topic::valid_filter(one)), any::<bool>()), 1..40),
        names in prop::collection::vec(prop::collection::vec(prop::sample::select(vec!["a", "b", "", "$x"]), 1..4), 1..6),
    ) {
        let interest = interest(1000, 1000);
        let (mailbox, mut inbox) = mailbox();
        let account = account(&interest, 1);
        let mut mine: Vec<(usize, Arc<str>)> = Vec::new();
        for (number, (text, ends)) in steps.into_iter().enumerate() {
            if ends && !mine.is_empty() {
                let (number, filter) = mine.swap_remove(text.len() % mine.len());
                interest.remove(1, [(number, &filter)].into_iter());
            } else {
                let filter: Arc<str> = text.into();
                interest.add((1, number), &filter, 0, &account, mailbox.clone()).expect("room");
                mine.push((number, filter));
            }
            for name in names.iter().map(|levels| levels.join("/")).filter(|name| topic::valid_topic(name)) {
                let mut wanted: Vec<_> =
                    mine.iter().filter(|(_, filter)| topic::matches(filter, &name)).map(|(number, _)| *number).collect();
                prop_assert_eq!(interest.has(&name.as_str().into()), !wanted.is_empty());
                interest.deliver(&message(&name, 1), &Count::default());
                let mut got: Vec<_> =
                    std::iter::from_fn(|| inbox.try_next()).map(|arrival| arrival.subscription).collect();
                got.sort_unstable();
                wanted.sort_unstable();
                prop_assert_eq!(got, wanted);
            }
        }
    }
}
