//! How much a page becomes. HTML opens again in each paragraph what was not closed before, so few
//! bytes can become very many; only its own rules tell how many.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use html5ever::interface::{ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::{StrTendril, TendrilSink};
use html5ever::{Attribute, ExpandedName, ParseOpts, QualName, ns, parse_fragment};

/// A page may become so many elements at most,
const ELEMENTS_MAX: usize = 100_000;
/// and their attributes so many bytes.
const BYTES_MAX: usize = 4 << 20;
/// What an attribute takes beside its text.
const ATTRIBUTE_BYTES: usize = 40;
/// After so many bytes it is asked whether it is too much already.
const PIECE_BYTES: usize = 64;

/// Whether a page becomes no more than it may.
pub(super) fn fits(html: &str) -> bool {
    let count = Rc::new(Count::default());
    let sink = Sink { count: count.clone(), nothing: name("") };
    let (within, options) = (QualName::clone(&name("div")), ParseOpts::default());
    let mut parser = parse_fragment(sink, options, within, Vec::new(), false);
    let mut rest = html;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.ceil_char_boundary(PIECE_BYTES));
        parser.process(StrTendril::from_slice(piece));
        if !count.fits() {
            return false;
        }
        rest = behind;
    }
    parser.finish();
    count.fits()
}

fn name(local: &str) -> Rc<QualName> {
    Rc::new(QualName::new(None, ns!(html), local.into()))
}

#[derive(Default)]
struct Count {
    elements: Cell<usize>,
    bytes: Cell<usize>,
}

impl Count {
    fn fits(&self) -> bool {
        self.elements.get() <= ELEMENTS_MAX && self.bytes.get() <= BYTES_MAX
    }
}

/// Counts elements instead of keeping them. Each is its name.
struct Sink {
    count: Rc<Count>,
    /// What is no element.
    nothing: Rc<QualName>,
}

impl TreeSink for Sink {
    type Handle = Rc<QualName>;
    type Output = ();
    type ElemName<'a> = ExpandedName<'a>;

    fn create_element(
        &self,
        name: QualName,
        attrs: Vec<Attribute>,
        _: ElementFlags,
    ) -> Self::Handle {
        let of = |one: &Attribute| one.name.local.len() + one.value.len() + ATTRIBUTE_BYTES;
        let bytes: usize = attrs.iter().map(of).sum();
        self.count.elements.update(|all| all + 1);
        self.count.bytes.update(|all| all + bytes);
        Rc::new(name)
    }

    fn elem_name<'a>(&'a self, target: &'a Self::Handle) -> ExpandedName<'a> {
        target.expanded()
    }

    fn same_node(&self, one: &Self::Handle, other: &Self::Handle) -> bool {
        Rc::ptr_eq(one, other)
    }

    fn get_document(&self) -> Self::Handle {
        self.nothing.clone()
    }

    fn get_template_contents(&self, _: &Self::Handle) -> Self::Handle {
        self.nothing.clone()
    }

    fn create_comment(&self, _: StrTendril) -> Self::Handle {
        self.nothing.clone()
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> Self::Handle {
        self.nothing.clone()
    }

    fn finish(self) {}
    fn parse_error(&self, _: Cow<'static, str>) {}
    fn set_quirks_mode(&self, _: QuirksMode) {}
    fn append(&self, _: &Self::Handle, _: NodeOrText<Self::Handle>) {}
    fn append_before_sibling(&self, _: &Self::Handle, _: NodeOrText<Self::Handle>) {}
    fn append_based_on_parent_node(
        &self,
        _: &Self::Handle,
        _: &Self::Handle,
        _: NodeOrText<Self::Handle>,
    ) {
    }
    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}
    fn add_attrs_if_missing(&self, _: &Self::Handle, _: Vec<Attribute>) {}
    fn remove_from_parent(&self, _: &Self::Handle) {}
    fn reparent_children(&self, _: &Self::Handle, _: &Self::Handle) {}
}
