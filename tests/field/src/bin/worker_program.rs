//! A worker program: serves its parent, and says whatever goes wrong.

fn main() {
    coprocess::init();
    match coprocess::parent() {
        Ok(co) => {
            co.serve("one", |(): ()| 1);
            if let Err(error) = co.run() {
                println!("{error}");
            }
        }
        Err(error) => println!("{error}"),
    }
}
