import ArgumentParser
import Client
import NIOCore

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// `kv config push`
struct ConfigPushCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "push",
    abstract: "Has a configuration of a higher version count, at all nodes.",
    discussion: """
      The node that is asked checks it, stores it, and tells every node of the old and of the new \
      configuration. Nodes that are missed learn it within seconds of being there again. The number of \
      shards, the hash and the mode stay as they are.
      """,
    version: Version.current)

  /// That node asks others who lead, and tells all of them.
  private static let pushSeconds = 30.0

  @Argument(help: ArgumentHelp("The configuration.", valueName: "sharding.json"))
  var file: String

  @OptionGroup var options: ClientOptions

  private struct Answer: Decodable {
    struct Missing: Decodable {
      let node: String
      let reason: String
    }

    let version: Int
    let have: [String]
    let missing: [Missing]
  }

  func run() async throws {
    let map = try ConfigurationFile.read(file)
    let request = KVRequest(
      .PUT, "/admin/config", headers: ["Content-Type": "application/json"],
      body: ByteBuffer(bytes: map.json), isIdempotent: true)
    let response = try await options.ask(timeoutSeconds: Self.pushSeconds) {
      client throws(KVClientError) in try await client.send(request)
    }
    let body = Data(response.body.readableBytesView)
    guard response.status == 200, let answer = try? JSONDecoder().decode(Answer.self, from: body)
    else { throw Output.failure("\(options.address): \(ErrorText.of(response))") }
    if options.json { return try Output.writeLine(String(decoding: body, as: UTF8.self)) }
    let all = answer.have.count + answer.missing.count
    var text = "version \(answer.version): \(answer.have.count) of \(all) nodes have it\n"
    for missing in answer.missing { text += "  not \(missing.node): \(missing.reason)\n" }
    try Output.write(text.utf8)
  }
}
