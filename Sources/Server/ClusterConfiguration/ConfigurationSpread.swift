import Client
import NIOCore
import NIOHTTP1

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Tells other nodes a configuration, all of them once, within a few seconds. Who is missed asks for it
/// later (`ConfigurationPoll`).
struct ConfigurationSpread: Sendable {
  enum Outcome: Sendable {
    /// It is there now, or was.
    case has
    case missing(String)
  }

  /// A node that is told does not tell others.
  static let parameter = "pass_on"
  private static let atOnceMax = 64
  private static let answer = TimeAmount.seconds(2)
  private static let all = TimeAmount.seconds(5)

  let pool: KVPool
  let version: ConfigurationVersion

  /// - Returns: what came of it, in the order of `addresses`.
  func tell(_ addresses: [String]) async -> [(address: String, outcome: Outcome)] {
    let end = NIODeadline.now() + Self.all
    var outcomes = [Outcome?](repeating: nil, count: addresses.count)
    await withTaskGroup(of: (Int, Outcome).self) { group in
      var next = addresses.indices.dropFirst(Self.atOnceMax).makeIterator()
      for index in addresses.indices.prefix(Self.atOnceMax) {
        group.addTask { (index, await tell(addresses[index], by: end)) }
      }
      while let (index, outcome) = await group.next() {
        outcomes[index] = outcome
        if let index = next.next() {
          group.addTask { (index, await tell(addresses[index], by: end)) }
        }
      }
    }
    return zip(addresses, outcomes).map { ($0, $1 ?? .missing("it was not asked")) }
  }

  private func tell(_ address: String, by end: NIODeadline) async -> Outcome {
    guard let node = try? NodeAddress(parsing: address) else { return .missing("no address") }
    let deadline = min(end, .now() + Self.answer)
    guard .now() < deadline else { return .missing("there was no time left to ask it") }
    do {
      let answer = try await pool.execute(
        KVRequest(
          .PUT, "/admin/config?\(Self.parameter)=false",
          headers: ["Content-Type": "application/json"], body: ByteBuffer(bytes: version.json),
          isIdempotent: true), on: node, deadline: deadline
      ).get()
      if answer.status == 200 { return .has }
      return .missing("it answers \(answer.status)" + (Self.reason(answer).map { ": \($0)" } ?? ""))
    } catch {
      return .missing("\(error)")
    }
  }

  private struct Refusal: Decodable { let error: String }

  static func reason(_ answer: KVResponse) -> String? {
    (try? JSONDecoder().decode(Refusal.self, from: Data(answer.body.readableBytesView)))?.error
  }
}
