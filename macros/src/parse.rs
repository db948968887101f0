//! Parses an interface, and reports each part that an interface may not contain.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, Generics, Ident, ItemTrait, LitStr, Meta, Pat, PatType, Receiver,
    ReceiverKind, Result, ReturnType, Safety, Signature, Token, TraitItem, TraitItemFn, Type,
    parse_quote,
};

use crate::signature;

/// Bounds the arguments of a method: serde encodes at most so many as one tuple.
const MAX_ARGUMENTS: usize = 16;

/// Lists the functions that the macro adds to the client or the trait.
const RESERVED: [&str; 7] =
    ["new", "new_async", "unchecked", "within", "pipelined", "asynchronous", "serve"];

/// Holds an interface: a trait that was parsed and found good.
pub(crate) struct Interface {
    /// The trait that the server implements: as it was written, without the attributes of this
    /// macro.
    pub(crate) item: ItemTrait,
    /// The name of the interface on the wire.
    pub(crate) name: String,
    /// The trait's documentation and conditions, which the generated items get, too.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) methods: Vec<Method>,
}

/// Describes a method or event of an interface.
pub(crate) struct Method {
    /// The signature that the server implements.
    pub(crate) declared: Signature,
    pub(crate) ident: Ident,
    pub(crate) attributes: Vec<Attribute>,
    /// Attributes that the client's methods get, too.
    pub(crate) must_use: Vec<Attribute>,
    /// Is `true` for an event: one way, without a result.
    pub(crate) is_event: bool,
    /// The name of the server's `Reply`, if the method is deferred.
    pub(crate) reply: Option<Ident>,
    pub(crate) arguments: Vec<Argument>,
    /// The type of the result.
    pub(crate) result: TokenStream,
    /// The signature as text, which both ends compare.
    pub(crate) signature: String,
}

/// Describes an argument of a method.
pub(crate) struct Argument {
    pub(crate) ident: Ident,
    /// The type as it was written.
    pub(crate) declared: Type,
    pub(crate) passed: Passed,
}

/// Tells how an argument is sent.
pub(crate) enum Passed {
    Value,
    /// `&str`; a `String` arrives.
    Text,
    /// `&[u8]`, as one block.
    Bytes,
    /// `&[T]`; a `Vec<T>` arrives.
    Slice(Type),
    /// `&T`; a `T` arrives.
    Reference(Type),
}

impl Argument {
    /// Returns the type that arrives at the server.
    pub(crate) fn received(&self) -> TokenStream {
        match &self.passed {
            Passed::Value => self.declared.to_token_stream(),
            Passed::Text => quote!(::std::string::String),
            Passed::Bytes => quote!(::coprocess::serde_bytes::ByteBuf),
            Passed::Slice(element) => quote!(::std::vec::Vec<#element>),
            Passed::Reference(target) => target.to_token_stream(),
        }
    }

    /// Returns the type that arrives, as the text that both ends compare. Whether the method
    /// borrows the argument does not matter.
    fn text(&self) -> String {
        match &self.passed {
            Passed::Value => signature::text(self.declared.to_token_stream()),
            Passed::Text => "String".to_owned(),
            Passed::Bytes => "Vec<u8>".to_owned(),
            Passed::Slice(element) => {
                format!("Vec<{}>", signature::text(element.to_token_stream()))
            }
            Passed::Reference(target) => signature::text(target.to_token_stream()),
        }
    }
}

/// Collects all errors, so that the compiler shows them at once.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn add(&mut self, span: Span, message: &str) {
        let error = Error::new(span, message);
        match &mut self.0 {
            Some(all) => all.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// Adds an error if a part is there that may not be there.
    fn refuse(&mut self, part: Option<impl Spanned>, message: &str) {
        if let Some(part) = part {
            self.add(part.span(), message);
        }
    }
}

/// Parses the item that the attribute stands on.
pub(crate) fn interface(options: TokenStream, item: TokenStream) -> Result<Interface> {
    let span = item.clone().into_iter().next().map_or_else(Span::call_site, |first| first.span());
    let mut item: ItemTrait =
        syn::parse2(item.clone()).map_err(|error| match syn::parse2::<syn::Item>(item) {
            // The item is a trait with an error of syntax: report that error.
            Err(_) => error,
            Ok(_) => Error::new(span, "an interface is a trait"),
        })?;
    let name = name(options, &item)?;
    let mut errors = Errors::default();
    errors.refuse(
        item.unsafety,
        "an interface cannot be unsafe: the peer could not keep its promises",
    );
    errors.refuse(item.modifiers.auto_token, "an interface cannot be an auto trait");
    errors.refuse(
        generic_part(&item.generics),
        "an interface has no generic parameters: the peer is compiled without them",
    );
    let mut methods = Vec::new();
    for part in &mut item.items {
        match part {
            TraitItem::Fn(function) => methods.push(method(function, &mut errors)),
            other => errors.add(other.span(), "an interface has methods only"),
        }
    }
    match errors.0 {
        Some(error) => Err(error),
        None => Ok(Interface { attributes: carried(&item.attrs), item, name, methods }),
    }
}

/// Returns the name of the interface on the wire: the name of the trait, unless the options give
/// one.
fn name(options: TokenStream, item: &ItemTrait) -> Result<String> {
    let mut name = None;
    let parser = syn::meta::parser(|option| {
        if !option.path.is_ident("name") {
            return Err(option.error(
                "there is one option: `name = \"...\"`, the name of the interface on the wire",
            ));
        }
        let given: LitStr = option.value()?.parse()?;
        if given.value().is_empty() {
            return Err(Error::new(given.span(), "a name has at least one character"));
        }
        name = Some(given.value());
        Ok(())
    });
    parser.parse2(options)?;
    Ok(name.unwrap_or_else(|| item.ident.unraw().to_string()))
}

/// Returns the attributes that everything generated from an item gets, too: documentation,
/// conditions, deprecation, and allowed lints.
fn carried(attributes: &[Attribute]) -> Vec<Attribute> {
    chosen(attributes, |meta| {
        ["doc", "cfg", "deprecated", "allow"].iter().any(|name| meta.path().is_ident(name))
    })
    .collect()
}

/// Returns the attributes that decide whether an item is compiled.
pub(crate) fn conditions(attributes: &[Attribute]) -> impl Iterator<Item = Attribute> {
    chosen(attributes, |meta| meta.path().is_ident("cfg"))
}

/// Returns the wanted attributes, including those that are inside a `cfg_attr`.
fn chosen(
    attributes: &[Attribute],
    wanted: impl Fn(&Meta) -> bool,
) -> impl Iterator<Item = Attribute> {
    attributes.iter().filter_map(move |attribute| {
        let meta = chosen_of(&attribute.meta, &wanted)?;
        Some(Attribute { meta, ..attribute.clone() })
    })
}

fn chosen_of(meta: &Meta, wanted: &impl Fn(&Meta) -> bool) -> Option<Meta> {
    if wanted(meta) {
        return Some(meta.clone());
    }
    let (condition, attributes) = conditional(meta)?;
    let chosen: Vec<Meta> = attributes.iter().filter_map(|meta| chosen_of(meta, wanted)).collect();
    (!chosen.is_empty()).then(|| parse_quote!(cfg_attr(#condition, #(#chosen),*)))
}

/// Splits a `cfg_attr` into its condition and its attributes.
fn conditional(meta: &Meta) -> Option<(TokenStream, Punctuated<Meta, Token![,]>)> {
    let Meta::List(list) = meta else { return None };
    if !list.path.is_ident("cfg_attr") {
        return None;
    }
    let parse = |input: ParseStream<'_>| {
        let mut condition = TokenStream::new();
        while !input.is_empty() && !input.peek(Token![,]) {
            condition.extend([input.parse::<TokenTree>()?]);
        }
        input.parse::<Option<Token![,]>>()?;
        Ok((condition, Punctuated::parse_terminated(input)?))
    };
    parse.parse2(list.tokens.clone()).ok()
}

/// Returns `true` if an attribute of this macro is inside a `cfg_attr`, whose condition only the
/// compiler can judge.
fn hides(meta: &Meta, own: &str) -> bool {
    conditional(meta).is_some_and(|(_, attributes)| {
        attributes.iter().any(|meta| meta.path().is_ident(own) || hides(meta, own))
    })
}

/// Parses a method, and takes the attributes of this macro off it.
fn method(function: &mut TraitItemFn, errors: &mut Errors) -> Method {
    let is_event = marked(function, "event", errors);
    let is_deferred = marked(function, "deferred", errors);
    if is_event && is_deferred {
        errors.add(
            function.sig.ident.span(),
            "an event is not deferred: no caller waits for an answer",
        );
    }

    let signature = &function.sig;
    errors.refuse(
        function.default.as_ref(),
        "a method of an interface has no body: \
         what it does is said where the interface is implemented",
    );
    errors.refuse(
        signature.asyncness,
        "a method of an interface is not async: \
         clients choose, by `asynchronous()`, whether they wait",
    );
    errors.refuse(signature.constness, "a method of an interface is not const");
    if !matches!(signature.safety, Safety::Default) {
        errors.add(
            signature.safety.span(),
            "a method of an interface is not unsafe: the peer could not keep its promises",
        );
    }
    errors.refuse(signature.abi.as_ref(), "a method of an interface has no calling convention");
    errors.refuse(
        signature.variadic.as_ref(),
        "a method of an interface has a fixed number of arguments",
    );
    errors.refuse(
        generic_part(&signature.generics),
        "a method of an interface has no generic parameters: \
         the peer cannot know the caller's types",
    );
    let name = signature.ident.unraw().to_string();
    if RESERVED.contains(&name.as_str()) {
        errors.add(
            signature.ident.span(),
            &format!("`{name}` is a function that the macro adds: choose another name"),
        );
    }

    let mut inputs = signature.inputs.iter();
    match inputs.next() {
        Some(FnArg::Receiver(receiver)) if takes_shared_self(receiver) => {}
        Some(FnArg::Receiver(receiver)) => errors.add(
            receiver.span(),
            "a method of an interface takes `&self`: its server handles all calls; \
             what changes in it belongs in a Mutex or an atomic",
        ),
        _ => errors.add(
            signature.ident.span(),
            &format!(
                "a method of an interface takes `&self`: write `fn {name}(&self{})`",
                if signature.inputs.is_empty() { "" } else { ", .." }
            ),
        ),
    }
    let arguments: Vec<Argument> = signature
        .inputs
        .iter()
        .filter_map(|input| match input {
            FnArg::Typed(input) => argument(input, errors),
            FnArg::Receiver(_) => None,
        })
        .collect();
    if arguments.len() > MAX_ARGUMENTS {
        errors.add(
            signature.ident.span(),
            &format!(
                "a method of an interface has at most {MAX_ARGUMENTS} arguments: \
                 put them into a struct"
            ),
        );
    }

    let result = match &signature.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, result) if is_event => {
            errors.add(result.span(), "an event has no result: it is not answered");
            quote!(())
        }
        ReturnType::Type(_, result) => {
            check_owned(
                result.to_token_stream(),
                "a result is owned: it is made by the peer, and nothing there can be borrowed",
                errors,
            );
            result.to_token_stream()
        }
    };
    let types: Vec<String> = arguments.iter().map(Argument::text).collect();
    let types = types.join(", ");
    let described = if is_event {
        format!("event({types})")
    } else {
        format!("fn({types}) -> {}", signature::text(result.clone()))
    };
    let ident = signature.ident.clone();
    // Taken before `defer`, which adds documentation about the reply: these are the client's.
    let attributes = carried(&function.attrs);
    let reply = is_deferred.then(|| defer(function, &result));
    Method {
        declared: function.sig.clone(),
        ident,
        reply,
        attributes,
        must_use: chosen(&function.attrs, gives_reason).collect(),
        is_event,
        arguments,
        result,
        signature: described,
    }
}

/// Gives the server's method a reply in place of a result. Returns the name of the reply.
fn defer(function: &mut TraitItemFn, result: &TokenStream) -> Ident {
    // Mixed-site hygiene keeps this name apart from an argument that is called `reply`, too.
    let reply = Ident::new("reply", Span::mixed_site());
    function.sig.output = ReturnType::Default;
    function.sig.inputs.push(parse_quote!(#reply: ::coprocess::Reply<#result>));
    function.attrs.push(parse_quote!(#[doc = ""]));
    function
        .attrs
        .push(parse_quote!(#[doc = " Answered by `reply`: now or later, from any thread."]));
    reply
}

/// Returns `true` for `#[must_use = ".."]`. Without a reason, the attribute adds nothing:
/// everything that a client returns must be used.
fn gives_reason(meta: &Meta) -> bool {
    meta.path().is_ident("must_use") && matches!(meta, Meta::NameValue(_))
}

/// Returns `true` if a method has an attribute of this macro, and takes the attribute off.
fn marked(function: &mut TraitItemFn, marker: &str, errors: &mut Errors) -> bool {
    let mut is_marked = false;
    function.attrs.retain(|attribute| {
        if hides(&attribute.meta, marker) {
            errors.add(
                attribute.span(),
                &format!(
                    "`#[{marker}]` has no condition, which the macro could not know: \
                     write the method twice, each with a `#[cfg(..)]`"
                ),
            );
        }
        let marks = attribute.path().is_ident(marker);
        if marks && attribute.meta.require_path_only().is_err() {
            errors.add(attribute.span(), &format!("`#[{marker}]` takes nothing"));
        }
        if marks && is_marked {
            errors.add(attribute.span(), &format!("`#[{marker}]` once is enough"));
        }
        is_marked |= marks;
        !marks
    });
    is_marked
}

/// Returns the generic parameters or their bounds, if there are any.
fn generic_part(generics: &Generics) -> Option<TokenStream> {
    match (generics.params.is_empty(), &generics.where_clause) {
        (false, _) => Some(generics.params.to_token_stream()),
        (true, bounds) => bounds.as_ref().map(ToTokens::to_token_stream),
    }
}

fn takes_shared_self(receiver: &Receiver) -> bool {
    matches!(receiver.kind, ReceiverKind::Reference(_, None, None))
}

fn argument(input: &PatType, errors: &mut Errors) -> Option<Argument> {
    errors.refuse(input.attrs.first(), "an argument of an interface has no attributes");
    let ident = match &*input.pat {
        Pat::Ident(name)
            if name.by_ref.is_none() && name.mutability.is_none() && name.subpat.is_none() =>
        {
            name.ident.clone()
        }
        other => {
            errors.add(
                other.span(),
                "an argument of an interface is a name and a type: \
                 the client has a parameter of that name",
            );
            return None;
        }
    };
    let borrowed = "an argument is owned, or borrowed as a whole (`&str`, `&[T]`, `&T`): \
                    inside of a type nothing can be borrowed";
    let passed = match peel(&input.ty) {
        Type::Reference(reference) => {
            if let Some(lifetime) = &reference.lifetime {
                errors.add(
                    lifetime.span(),
                    "an argument is borrowed for the call only: leave the lifetime out",
                );
            }
            errors.refuse(
                reference.mutability,
                "an argument cannot be changed for the caller: return what changes",
            );
            let target = peel(&reference.elem);
            check_owned(target.to_token_stream(), borrowed, errors);
            match target {
                Type::Path(path) if path.path.is_ident("str") => Passed::Text,
                Type::Slice(slice) => match peel(&slice.elem) {
                    Type::Path(path) if path.path.is_ident("u8") => Passed::Bytes,
                    element => Passed::Slice(element.clone()),
                },
                other => Passed::Reference(other.clone()),
            }
        }
        other => {
            check_owned(other.to_token_stream(), borrowed, errors);
            Passed::Value
        }
    };
    Some(Argument { ident, declared: (*input.ty).clone(), passed })
}

/// Returns a type without the parentheses around it, visible or not.
fn peel(mut declared: &Type) -> &Type {
    loop {
        declared = match declared {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            other => return other,
        };
    }
}

/// Adds errors for the parts of a type that the peer cannot make.
fn check_owned(tokens: TokenStream, borrowed: &str, errors: &mut Errors) {
    for token in tokens {
        match &token {
            TokenTree::Group(group) => check_owned(group.stream(), borrowed, errors),
            // A lifetime begins with its quotation mark.
            TokenTree::Punct(mark) if matches!(mark.as_char(), '&' | '\'') => {
                // Once for a reference, not again for its lifetime.
                errors.add(token.span(), borrowed);
                return;
            }
            TokenTree::Ident(word) if word == "impl" || word == "dyn" => {
                errors.add(
                    token.span(),
                    &format!(
                        "`{word}` types cannot travel: \
                         the peer must know what to make; name the type"
                    ),
                );
                return;
            }
            TokenTree::Ident(word) if word == "Self" => {
                errors.add(
                    token.span(),
                    "`Self` is the server here, and another type at the client: name the type",
                );
                return;
            }
            _ => {}
        }
    }
}
