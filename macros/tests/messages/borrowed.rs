//! Only an argument can be borrowed, and only as a whole.

#[coprocess::interface]
trait Texts {
    fn first(&self) -> &str;
    fn name(&self) -> Option<&'static str>;
    fn find(&self, any: Option<&str>, of: Vec<&str>);
    fn join(&self, text: std::borrow::Cow<'_, str>);
    fn change(&self, text: &mut String);
    fn keep(&self, text: &'static str);
    fn doubly(&self, text: &&str);
}

fn main() {}
