import Client
import Engine
import NIOCore
import WAL

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Asks the other members of a shard to promise an epoch.
struct PromiseCollector: Sendable {
  static let askSeconds: Int64 = 3

  private let members: [NodeAddress]
  private let pool: KVPool

  init(_ members: [NodeAddress], _ pool: KVPool) {
    self.members = members
    self.pool = pool
  }

  enum Answer: Sendable {
    case promised(Succession.Standing, mayLack: Bool)
    case refused(Epoch)
    case silent
  }

  /// Asks all of them at once; each has answered, or had its time, at the end.
  func ask(
    for epoch: Epoch, origin: UInt64, seconds: Int64 = askSeconds
  ) async -> [(NodeAddress, Answer)] {
    await withTaskGroup(of: (NodeAddress, Answer).self) { group in
      for member in members {
        group.addTask { (member, await answer(of: member, epoch, origin, seconds)) }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
  }

  private struct Body: Decodable {
    let origin: String?
    let epoch: String?
    let sequence: UInt64?
    let highest: String?
    let lacks: Bool?
  }

  private func answer(
    of member: NodeAddress, _ epoch: Epoch, _ origin: UInt64, _ seconds: Int64
  ) async -> Answer {
    let request = KVRequest(
      .POST, "/admin/promise?epoch=\(epoch.text)&origin=\(hexadecimal(origin))",
      isIdempotent: true)
    guard
      let answer = try? await pool.execute(
        request, on: member, deadline: .now() + .seconds(seconds)
      ).get(),
      let said = try? JSONDecoder().decode(Body.self, from: Data(answer.body.readableBytesView))
    else { return .silent }
    if answer.status == 200, let log = said.origin.flatMap({ UInt64($0, radix: 16) }),
      let epoch = said.epoch.flatMap({ Epoch($0[...]) }), let sequence = said.sequence
    {
      return .promised(
        Succession.Standing(origin: log, epoch: epoch, sequence: sequence),
        mayLack: said.lacks ?? false)
    }
    guard let highest = said.highest.flatMap({ Epoch($0[...]) }),
      highest.number < Promotion.numberLimit
    else { return .silent }
    return .refused(highest)
  }
}
