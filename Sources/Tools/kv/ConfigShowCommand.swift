import ArgumentParser
import Client
import NIOCore

/// `kv config show`
struct ConfigShowCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Prints the configuration that a node goes by.",
    discussion: "It is what --config-file takes.", version: Version.current)

  @OptionGroup var options: ClientOptions

  func run() async throws {
    let request = KVRequest(.GET, "/admin/config")
    let answer = try await options.ask { client throws(KVClientError) in
      try await client.send(request)
    }
    guard answer.status == 200 else {
      throw Output.failure("\(options.address): \(ErrorText.of(answer))")
    }
    try Output.write(answer.body.readableBytesView)
  }
}
