import ArgumentParser
import KVClient

struct GetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "get", abstract: "Prints the value of a key, raw, with nothing added.",
    discussion: "Exit code 1 if the key is absent. A key that begins with - goes behind --.",
    version: Version.current)

  @Argument(help: "What to read.")
  var key: String

  @OptionGroup var options: ClientOptions

  func validate() throws { try KeyArgument.validate(key) }

  func run() async throws {
    let found = try await options.askCluster { client throws(KVClientError) in
      try await client.get(Array(key.utf8))
    }
    guard let entry = found else { throw KeyArgument.notFound(key) }
    guard options.json else { return try Output.write(entry.value) }
    try Output.writeLine(
      JSONText.object([
        JSONText.member("key", Array(key.utf8)), JSONText.member("value", entry.value),
        ("version", String(entry.version)),
      ]))
  }
}
