import ArgumentParser
import KVClient

struct SetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set", abstract: "Writes the value of a key, and prints the version.",
    discussion: "A key or a value that begins with - goes behind --.", version: Version.current)

  @Argument(help: "What to write.")
  var key: String

  @Argument(help: "Its value; - reads standard input to the end, byte for byte.")
  var value: String

  @OptionGroup var seen: SeenContext
  @OptionGroup var options: ClientOptions

  func validate() throws { try KeyArgument.validate(key) }

  func run() async throws {
    let bytes = value == "-" ? try StandardInput.read() : Array(value.utf8)
    let version = try await options.askCluster { client throws(KVClientError) in
      try await client.put(Array(key.utf8), bytes, context: seen.context).version
    }
    guard options.json else { return try Output.writeLine("version \(version)") }
    try Output.writeLine(
      JSONText.object([JSONText.member("key", Array(key.utf8)), ("version", String(version))]))
  }
}
