import ArgumentParser
import Client
import NIOCore

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

struct PromoteCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "promote", abstract: "Has a replica lead its shard.",
    discussion: """
      The other members promise to follow nobody of an older epoch, and the most advanced log among them is \
      taken first. With a write quorum above 1 it is refused where too few of them can be reached to know what \
      was acknowledged.
      """,
    version: Version.current)

  @OptionGroup var options: ClientOptions

  @Flag(help: "Lead even where that may lose what was acknowledged.")
  var force = false

  @Flag(
    help:
      "Have the leader hand over: it finishes its writes first, and holds those that come for a moment."
  )
  var handover = false

  func validate() throws {
    if force, handover { throw ValidationError("--force makes no sense with --handover") }
  }

  /// What is missing is fetched first, which takes as long as there is of it.
  private static let promotionSeconds = 3_600.0

  private struct Answer: Decodable {
    let epoch: UInt64
    let sequence: UInt64
    let promoted: Bool
    let promises: Int?
    let members: Int?
    let note: String?
  }

  private struct Refusal: Decodable { let error: String }

  func run() async throws {
    // Somebody who does not answer at all is noticed here.
    _ = try await options.ask { client throws(KVClientError) in try await client.status() }
    let query = force ? "?force=true" : handover ? "?handover=true" : ""
    let request = KVRequest(.POST, "/admin/promote" + query)
    let address = options.address
    let response = try await options.ask(timeoutSeconds: Self.promotionSeconds) {
      client throws(KVClientError) in try await client.send(request)
    }
    let body = Data(response.body.readableBytesView)
    guard response.status == 200, let answer = try? JSONDecoder().decode(Answer.self, from: body)
    else {
      let reason = (try? JSONDecoder().decode(Refusal.self, from: body))?.error
      throw Output.failure("\(address): \(reason ?? "the answer is \(response.status)")")
    }
    if options.json { return try Output.writeLine(String(decoding: body, as: UTF8.self)) }
    guard answer.promoted else {
      return try Output.writeLine("\(address) leads already, in epoch \(answer.epoch)")
    }
    try Output.writeLine(
      "\(address) leads in epoch \(answer.epoch), from \(answer.sequence) on; "
        + "\(answer.promises ?? 1) of \(answer.members ?? 1) members have promised it")
    if let note = answer.note { try Output.writeLine(note) }
  }
}
