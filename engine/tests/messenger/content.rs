//! What messages show of what they carry.

use engine::message::{Attachment, Content, MessageKind};
use serde_json::{Value, json};

use super::received;

fn content(message: Value) -> Content {
    let mut message = message;
    message["mid"] = "m_1".into();
    received(&json!({"message": message})).content
}

fn carrying(attachments: Value) -> Content {
    content(json!({"attachments": attachments}))
}

fn attachment(kind: &str) -> Attachment {
    Attachment { kind: kind.to_owned(), ..Attachment::default() }
}

fn linked(kind: &str, url: &str) -> Attachment {
    Attachment { url: Some(url.to_owned()), url_expires: true, ..attachment(kind) }
}

#[test]
fn files_are_shown_as_what_they_are() {
    for (sent, kind, shown) in [
        ("image", MessageKind::Image, "image"),
        ("audio", MessageKind::Audio, "audio"),
        ("video", MessageKind::Video, "video"),
        ("file", MessageKind::Document, "document"),
    ] {
        let file = json!([{"type": sent, "payload": {"url": "https://example.com/f"}}]);
        let Content { kind: is, attachments, text, raw, .. } = carrying(file);
        assert_eq!((is, attachments), (kind, vec![linked(shown, "https://example.com/f")]));
        assert_eq!((text, raw), (None, None), "{sent}");
    }
}

#[test]
fn several_files_of_one_message_stay_together_in_order() {
    let file =
        |n: u8| json!({"type": "image", "payload": {"url": format!("https://example.com/{n}")}});
    let shown = carrying(json!([file(1), file(2), file(3)]));
    let urls: Vec<_> = shown.attachments.iter().filter_map(|one| one.url.as_deref()).collect();
    assert_eq!(urls, ["https://example.com/1", "https://example.com/2", "https://example.com/3"]);
}

#[test]
fn a_sticker_is_one_whichever_way_and_however_often_it_comes() {
    let payload = json!({"url": "https://example.com/s", "sticker_id": 77});
    let [image, sticker] =
        ["image", "sticker"].map(|kind| json!({"type": kind, "payload": payload}));
    for sent in [json!([image]), json!([sticker]), json!([image, sticker])] {
        let shown = carrying(sent);
        assert_eq!((shown.kind, shown.attachments.len()), (MessageKind::Sticker, 1));
        let [one] = &shown.attachments[..] else { panic!("one sticker") };
        assert_eq!((one.kind.as_str(), one.provider_media_id.as_deref()), ("sticker", Some("77")));
    }
}

#[test]
fn a_place_is_shown_where_it_is() {
    let payload = json!({"coordinates": {"lat": 48.2, "long": "16.37"}});
    let shown = carrying(json!([{"type": "location", "title": "Here", "payload": payload}]));
    let [place] = &shown.attachments[..] else { panic!("one place") };
    assert_eq!((shown.kind, place.name.as_deref()), (MessageKind::Location, Some("Here")));
    assert_eq!((place.latitude, place.longitude), (Some(48.2), Some(16.37)));
}

#[test]
fn a_link_is_beside_the_text_that_it_stands_in_whatever_its_payload_is() {
    let url = "https://example.com/a";
    for link in [
        json!({"type": "fallback", "payload": {"url": url, "title": "A page"}}),
        json!({"type": "fallback", "payload": url}),
        json!({"type": "fallback", "url": url, "title": "A page"}),
    ] {
        let shown = content(json!({"text": format!("see {url}"), "attachments": [link]}));
        assert_eq!(shown.kind, MessageKind::Text);
        assert_eq!(shown.text.as_deref(), Some("see https://example.com/a"));
        let [one] = &shown.attachments[..] else { panic!("one link") };
        assert_eq!((one.kind.as_str(), one.url.as_deref()), ("share", Some(url)));
    }
    let shown = carrying(json!([{"type": "fallback", "title": "Gone"}]));
    assert_eq!((shown.kind, &shown.attachments[0].url), (MessageKind::Share, &None));
}

#[test]
fn posts_and_reels_are_shares_and_stories_stories() {
    for (sent, kind, shown) in [
        ("share", MessageKind::Share, "share"),
        ("post", MessageKind::Share, "share"),
        ("reel", MessageKind::Share, "share"),
        ("ig_post", MessageKind::Share, "share"),
        ("ig_reel", MessageKind::Share, "share"),
        ("story", MessageKind::Story, "story"),
        ("ig_story", MessageKind::Story, "story"),
        ("story_mention", MessageKind::Story, "story"),
    ] {
        let payload = json!({"url": "https://example.com/p", "title": "Boots", "id": 9_007});
        let is = carrying(json!([{"type": sent, "payload": payload}]));
        let [one] = &is.attachments[..] else { panic!("{sent}") };
        assert_eq!((is.kind, one.kind.as_str()), (kind, shown), "{sent}");
        let about = (one.name.as_deref(), one.provider_media_id.as_deref());
        assert_eq!(about, (Some("Boots"), Some("9007")));
    }
}

#[test]
fn what_lies_at_the_provider_for_a_while_is_fetched_and_a_page_of_the_web_is_not() {
    let wanted = |sent: &str, url: &str| {
        let one = json!([{"type": sent, "payload": {"url": url}}]);
        let shown = carrying(one).attachments.remove(0);
        assert_eq!(shown.is_wanted(), shown.url_expires, "{sent} {url}");
        shown.is_wanted()
    };
    let file = "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id=1";
    for sent in ["image", "audio", "video", "file", "story_mention", "share", "ig_post", "reel"] {
        assert!(wanted(sent, file), "{sent}");
    }
    assert!(!wanted("fallback", file) && !wanted("template", file));
    for page in [
        "https://www.facebook.com/reel/1",
        "https://FACEBOOK.com?x",
        "http://m.facebook.com/1",
        "https://www.instagram.com/p/abc/",
        "https://fb.watch/x",
    ] {
        assert!(!wanted("share", page) && !wanted("reel", page), "{page}");
    }
    assert!(wanted("share", "https://notfacebook.com/1"), "where it lies is asked later");
    assert!(!wanted("image", "ftp://example.com/1") && !wanted("image", "x"));
    let post = json!([{"type": "ig_post", "payload": {"ig_post_media_id": 7}}]);
    assert!(!carrying(post).attachments[0].is_wanted(), "an id alone is none of a file");
    let unnamed = |url: &str| linked("image", url).source().unwrap().into_owned();
    assert_eq!(unnamed(file), unnamed(file));
    assert_ne!(unnamed(file), unnamed("https://lookaside.fbsbx.com/2"));
    assert!(!unnamed(file).contains("fbsbx"), "the address is a part of what is said");
}

#[test]
fn a_template_shows_its_heading() {
    let payload =
        json!({"template_type": "generic", "generic": {"elements": [{"title": "Boots"}]}});
    let shown = carrying(json!([{"type": "template", "payload": payload}]));
    assert_eq!(shown.kind, MessageKind::Template);
    assert_eq!(shown.attachments[0].name.as_deref(), Some("Boots"));
}

#[test]
fn what_nobody_understands_is_shown_as_that_and_kept() {
    let booking = json!({"booking_id": "b1", "status": "requested"});
    for message in [
        json!({"attachments": [{"type": "appointment_booking", "payload": booking}]}),
        json!({"attachments": [{"type": "image", "payload": {"unsupported_type": "3d"}}]}),
        json!({"is_unsupported": true}),
        json!({}),
    ] {
        let shown = content(message.clone());
        assert_eq!(shown.kind, MessageKind::Unsupported, "{message}");
        assert!(shown.raw.is_some_and(|raw| raw.contains("\"m_1\"")));
    }
}
