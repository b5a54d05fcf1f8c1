import ArgumentParser

/// What the commands that take a key say alike.
enum KeyArgument {
  static func validate(_ key: String) throws {
    guard !key.isEmpty else {
      throw ValidationError("the key is empty. Every key has a byte at least")
    }
  }

  static func notFound(_ key: String) -> ExitCode {
    Output.failure("key not found: \(QuotedText.quoted(key))")
  }
}
