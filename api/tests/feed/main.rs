//! The live feed under everything that may go wrong, in both encodings: whatever happens, every
//! client ends with what it may see, without a gap, and is shown nothing that was another's when it
//! left.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod client;
#[cfg(test)]
mod elsewhere;
#[cfg(test)]
mod grown;
#[cfg(test)]
mod passing;
#[cfg(test)]
mod random;
#[cfg(test)]
mod rest;
#[cfg(test)]
mod rounds;
#[cfg(test)]
mod shop;
#[cfg(test)]
mod slow;
