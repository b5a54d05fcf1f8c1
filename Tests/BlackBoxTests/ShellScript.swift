import Foundation
import Testing

extension TemporaryDirectory {
  /// Makes a program of a shell's lines.
  ///
  /// Another process writes it: where this one did, a child that another test starts in that moment would
  /// have the file open for a while, and what is open for writing is not run ("text file busy").
  func makeScript(_ path: String, _ lines: String) async throws {
    let outcome = try await Executable.shell.run(
      ["-c", "cat > \"$0\" && chmod +x \"$0\"", path], input: Data("#!/bin/sh\n\(lines)\n".utf8),
      in: self)
    try #require(outcome.status == 0, "\(outcome.errors)")
  }
}
