//! Keys of the window, and the commands that they stand for.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use minifb::{InputCallback, Key};

/// What the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Quit,
    Pause,
    Heat,
    Colours,
    NextClass,
    ThresholdUp,
    ThresholdDown,
    Boxes,
    Snapshot,
    Help,
}

/// Commands in the order of their keys. The window's polled key state would lose a key that is
/// pressed and released between two looks.
#[derive(Debug, Clone, Default)]
pub struct Keys(Rc<RefCell<Pressed>>);

#[derive(Debug, Default)]
struct Pressed {
    held: Vec<Key>,
    commands: VecDeque<Command>,
}

impl Keys {
    /// The oldest command that was not taken yet.
    pub fn take(&self) -> Option<Command> {
        self.0.borrow_mut().commands.pop_front()
    }

    /// Forgets which keys are down: a window without the focus is not told of their release.
    pub fn release(&self) {
        self.0.borrow_mut().held.clear();
    }
}

impl InputCallback for Keys {
    /// Plus and minus by the character: where they lie differs from keyboard to keyboard.
    fn add_char(&mut self, character: u32) {
        let command = match char::from_u32(character) {
            Some('+' | '=') => Command::ThresholdUp,
            Some('-' | '−' | '_') => Command::ThresholdDown,
            _ => return,
        };
        self.0.borrow_mut().commands.push_back(command);
    }

    /// The other keys; of those only the arrows repeat while they are held.
    fn set_key_state(&mut self, key: Key, down: bool) {
        let Pressed { held, commands } = &mut *self.0.borrow_mut();
        let repeated = held.contains(&key);
        if !down {
            held.retain(|other| *other != key);
            return;
        }
        if !repeated {
            held.push(key);
        }
        let command = match key {
            Key::Up => Command::ThresholdUp,
            Key::Down => Command::ThresholdDown,
            _ if repeated => return,
            Key::Q | Key::Escape => Command::Quit,
            Key::Space => Command::Pause,
            Key::M => Command::Heat,
            Key::C => Command::Colours,
            Key::N => Command::NextClass,
            Key::B => Command::Boxes,
            Key::S => Command::Snapshot,
            Key::H => Command::Help,
            _ => return,
        };
        commands.push_back(command);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(keys: &Keys) -> Vec<Command> {
        std::iter::from_fn(|| keys.take()).collect()
    }

    #[test]
    fn a_key_that_is_held_commands_once_and_arrows_again_and_again() {
        let mut keys = Keys::default();
        for key in [Key::Space, Key::Space, Key::Up, Key::Up] {
            keys.set_key_state(key, true);
        }
        assert_eq!(commands(&keys), [Command::Pause, Command::ThresholdUp, Command::ThresholdUp]);
    }

    #[test]
    fn a_key_that_is_pressed_and_released_at_once_is_not_lost() {
        let mut keys = Keys::default();
        for _ in 0..2 {
            keys.set_key_state(Key::M, true);
            keys.set_key_state(Key::M, false);
        }
        assert_eq!(commands(&keys), [Command::Heat; 2]);
    }

    #[test]
    fn a_key_whose_release_was_not_seen_works_again_after_the_focus_was_lost() {
        let mut keys = Keys::default();
        keys.set_key_state(Key::H, true);
        keys.release();
        keys.set_key_state(Key::H, true);
        assert_eq!(commands(&keys), [Command::Help; 2]);
    }

    #[test]
    fn plus_and_minus_are_known_by_the_character() {
        let mut keys = Keys::default();
        "+=-x".chars().for_each(|c| keys.add_char(c.into()));
        let (up, down) = (Command::ThresholdUp, Command::ThresholdDown);
        assert_eq!(commands(&keys), [up, up, down]);
    }
}
