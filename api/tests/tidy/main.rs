//! Reads the workspace's own files and says which file breaks which rule of the house.

#[cfg(test)]
mod crates;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod tree;
