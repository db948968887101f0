//! Finds out what this process is: which executable, with which rights, started as what.

#[expect(unsafe_code, reason = "the objects that the dynamic linker knows")]
pub(crate) mod executable;
pub(crate) mod function;
#[expect(unsafe_code, reason = "a descriptor that is known by its number, and the environment")]
pub(crate) mod mark;
#[expect(unsafe_code, reason = "what the kernel says of this process and its file")]
pub(crate) mod privileges;
