//! Real processes, git work trees and files of this machine.
