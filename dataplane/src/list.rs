//! Lists through the places of a table: what was used last, what belongs together.
//!
//! A list takes no memory but two numbers a place, and taking a place out of its middle is one
//! step, which is what a table needs whose users are untrusted. A place is in at most one list of
//! the same [`Links`].

/// No place.
pub(crate) const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
}

/// The neighbours of each place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links(Vec<Link>);

impl Links {
    /// Links with memory for so many places.
    pub(crate) fn with_capacity(places: usize) -> Self {
        Links(Vec::with_capacity(places))
    }

    /// Adds a place, which is in no list yet.
    pub(crate) fn push(&mut self) {
        self.0.push(Link { before: NONE, after: NONE });
    }

    /// The place behind this one in its list, or [`NONE`].
    pub(crate) fn after(&self, place: u32) -> u32 {
        self.0[place as usize].after
    }
}

/// A list, the longest in it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List {
    first: u32,
    last: u32,
    len: u32,
}

impl List {
    /// A list of nothing.
    pub(crate) const EMPTY: List = List { first: NONE, last: NONE, len: 0 };

    /// The place that has been in it for the longest, or [`NONE`].
    pub(crate) fn first(&self) -> u32 {
        self.first
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Puts a place that is in no list at the end.
    pub(crate) fn append(&mut self, links: &mut Links, place: u32) {
        links.0[place as usize] = Link { before: self.last, after: NONE };
        match self.last {
            NONE => self.first = place,
            last => links.0[last as usize].after = place,
        }
        self.last = place;
        self.len += 1;
    }

    /// Takes a place of this list out of it.
    pub(crate) fn remove(&mut self, links: &mut Links, place: u32) {
        let Link { before, after } = links.0[place as usize];
        match before {
            NONE => self.first = after,
            _ => links.0[before as usize].after = after,
        }
        match after {
            NONE => self.last = before,
            _ => links.0[after as usize].before = before,
        }
        self.len -= 1;
    }

    /// Puts a place of this list at its end.
    #[inline]
    pub(crate) fn renew(&mut self, links: &mut Links, place: u32) {
        if self.last != place {
            self.remove(links, place);
            self.append(links, place);
        }
    }

    /// The places in order.
    pub(crate) fn iter<'a>(&self, links: &'a Links) -> impl Iterator<Item = u32> + use<'a> {
        let next = |&place: &u32| Some(links.after(place)).filter(|&after| after != NONE);
        std::iter::successors(Some(self.first).filter(|&first| first != NONE), next)
    }
}

impl Default for List {
    fn default() -> Self {
        List::EMPTY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_keep_their_order_whatever_is_taken_out() {
        let mut links = Links::default();
        let mut list = List::EMPTY;
        for place in 0..5 {
            links.push();
            list.append(&mut links, place);
        }
        list.remove(&mut links, 2);
        list.remove(&mut links, 0);
        list.renew(&mut links, 1);
        assert_eq!(list.iter(&links).collect::<Vec<_>>(), [3, 4, 1]);
        assert_eq!((list.first(), list.len()), (3, 3));
        for place in [4, 3, 1] {
            list.remove(&mut links, place);
        }
        assert_eq!(list, List::EMPTY);
        assert_eq!(list.iter(&links).count(), 0);
    }
}
