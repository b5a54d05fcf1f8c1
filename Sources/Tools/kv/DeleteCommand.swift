import ArgumentParser
import KVClient

struct DeleteCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete", abstract: "Removes a key.",
    discussion: "Exit code 1 if the key is absent. A key that begins with - goes behind --.",
    version: Version.current)

  @Argument(help: "What to remove.")
  var key: String

  @OptionGroup var seen: SeenContext
  @OptionGroup var options: ClientOptions

  func validate() throws { try KeyArgument.validate(key) }

  func run() async throws {
    let wasThere = try await options.askCluster { client throws(KVClientError) in
      try await client.delete(Array(key.utf8), context: seen.context)
    }
    guard wasThere else { throw KeyArgument.notFound(key) }
    guard options.json else { return try Output.writeLine("deleted") }
    try Output.writeLine(
      JSONText.object([JSONText.member("key", Array(key.utf8)), ("deleted", "true")]))
  }
}
