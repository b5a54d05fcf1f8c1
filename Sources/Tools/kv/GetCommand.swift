import ArgumentParser
import KVClient

struct GetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "get", abstract: "Prints the value of a key, raw, with nothing added.",
    discussion: """
      Exit code 1 if the key is absent. A key that begins with - goes behind --.

      Of a leaderless shard's key with several values it is the newest, and standard error says how many there are; --json \
      has all of them, and the context that a write takes which replaces them.
      """,
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
    guard options.json else {
      if !entry.siblings.isEmpty {
        Output.note("the newest of \(entry.siblings.count + 1) values; --json shows all")
      }
      return try Output.write(entry.value)
    }
    var members = [
      JSONText.member("key", Array(key.utf8)), JSONText.member("value", entry.value),
      ("version", String(entry.version)),
    ]
    if let context = entry.context {
      members.append(JSONText.member("context", Array("\(context)".utf8)))
    }
    if !entry.siblings.isEmpty {
      let others = entry.siblings.map {
        JSONText.object([JSONText.member("value", $0.value), ("version", String($0.version))])
      }
      members.append(("siblings", "[\(others.joined(separator: ","))]"))
    }
    try Output.writeLine(JSONText.object(members))
  }
}
