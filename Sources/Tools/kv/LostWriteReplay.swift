import ArgumentParser
import Client
import Engine
import NIOCore
import NIOHTTP1

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Writes lost writes back, as far as nothing was written to their keys since.
///
/// Of each key the last write of a tail counts, and the tail with the highest fork comes first. A key that
/// has a version up to the fork was not written since: its write is done on the condition that this
/// is so still. One that is absent was either absent at the fork, or deleted since; the leader's log says
/// which, and where it does not go back that far, nothing is written.
struct LostWriteReplay {
  let source: LostWrites
  let target: NodeClient
  let address: NodeAddress
  let isJSON: Bool

  enum Outcome: String, CaseIterable {
    case put
    case deleted
    /// A lost delete of what is not there.
    case absent
    /// The lost value is there, written since: by an earlier replay, say.
    case present
    /// Written since the fork.
    case since
    /// Nothing says whether it was deleted since.
    case unknown
    case expired

    var text: String {
      switch self {
      case .put: "written back"
      case .deleted: "deleted"
      case .absent: "absent already"
      case .present: "there already"
      case .since: "not written back: it was written since"
      case .unknown:
        "not written back: it is absent, and the leader's log does not go back to the fork, so it may have "
          + "been deleted since"
      case .expired: "not written back: it has expired"
      }
    }
  }

  private var counts: [Outcome: Int] = [:]
  /// Purges and handoffs.
  private var others = 0

  init(source: LostWrites, target: NodeClient, address: NodeAddress, isJSON: Bool) {
    self.source = source
    self.target = target
    self.address = address
    self.isJSON = isJSON
  }

  mutating func run(_ tails: [ListedTail]) async throws {
    guard !tails.isEmpty else { return try conclude() }
    let origin = try await targetOrigin()
    for tail in tails.reversed() {
      guard tail.origin == origin else {
        throw Output.failure(
          "\(address) has the log \(origin), and \(tail.name) is of \(tail.origin): ask the leader of "
            + "that shard")
      }
      try await replay(tail)
    }
    try conclude()
  }

  private func targetOrigin() async throws -> String {
    let body: [UInt8]
    do throws(KVClientError) {
      body = try await target.status()
    } catch {
      throw Output.failure(error.description)
    }
    let status = try? JSONDecoder().decode(JSONValue.self, from: Data(body))
    guard let origin = status?["origin"]?.string else {
      throw Output.failure("\(address): the status is not known: is this a node of Shiplog?")
    }
    return origin
  }

  // MARK: - A tail

  private mutating func replay(_ tail: ListedTail) async throws {
    // Keys only: values are read again, one at a time.
    var last: [[UInt8]: UInt64] = [:]
    var unkeyed = 0
    try await source.forEach(of: tail, values: false) { write in
      if write.key.isEmpty { unkeyed += 1 } else { last[write.key] = write.sequence }
    }
    others += unkeyed
    var since = KeysSince(fork: tail.fork, keys: Set(last.keys))
    var told: [(LoggedWrite, Outcome)] = []
    try await source.forEach(of: tail, values: true) { write in
      guard last[write.key] == write.sequence else { return }
      let outcome = try await replay(write, tail, &since)
      // The value may be large.
      var said = write
      said.value = nil
      told.append((said, outcome))
      if told.count >= 100 {
        try tell(told)
        told = []
      }
    }
    try tell(told)
    counts.merge(since.counts, uniquingKeysWith: +)
  }

  private func replay(
    _ write: LoggedWrite, _ tail: ListedTail, _ since: inout KeysSince
  ) async throws -> Outcome {
    let outcome = try await outcome(write, tail, &since)
    since.counts[outcome, default: 0] += 1
    return outcome
  }

  private func outcome(
    _ write: LoggedWrite, _ tail: ListedTail, _ since: inout KeysSince
  ) async throws -> Outcome {
    let current: KVEntry?
    do throws(KVClientError) {
      current = try await target.get(write.key)
    } catch {
      throw Output.failure(error.description)
    }
    if let current, current.version > tail.fork {
      return current.value == write.value ? .present : .since
    }
    guard write.kind == .put else {
      guard let current else { return .absent }
      return try await delete(write, current.etag)
    }
    if let expiry = write.expiryMilliseconds, expiry <= Moment.now { return .expired }
    if current == nil {
      switch try await since.contains(write.key, target, address) {
      case true?: return .since
      case nil: return .unknown
      case false?: break
      }
    }
    return try await put(write, current?.etag)
  }

  private func put(_ write: LoggedWrite, _ etag: String?) async throws -> Outcome {
    guard let value = write.value else {
      throw Output.failure("sequence number \(write.sequence): its value was not told")
    }
    var path = KeyTarget.path(write.key)
    if let expiry = write.expiryMilliseconds {
      let now = Moment.now
      guard expiry > now else { return .expired }
      path += "?ttl=\((expiry - now + 999) / 1_000)"
    }
    var request = KVRequest(.PUT, path, body: ByteBuffer(bytes: value))
    if let etag {
      request.headers.add(name: "If-Match", value: etag)
    } else {
      request.headers.add(name: "If-None-Match", value: "*")
    }
    return try await send(request, done: .put)
  }

  private func delete(_ write: LoggedWrite, _ etag: String) async throws -> Outcome {
    var request = KVRequest(.DELETE, KeyTarget.path(write.key))
    request.headers.add(name: "If-Match", value: etag)
    return try await send(request, done: .deleted)
  }

  private func send(_ request: KVRequest, done: Outcome) async throws -> Outcome {
    let answer: KVResponse
    do throws(KVClientError) {
      answer = try await target.send(request)
    } catch {
      throw Output.failure(error.description)
    }
    switch answer.status {
    case 200, 201, 204: return done
    case 404 where done == .deleted: return .absent
    case 412: return .since
    default:
      let text = String(decoding: answer.body.readableBytesView.prefix(1_024), as: UTF8.self)
      throw Output.failure("\(address): \(answer.status): \(QuotedText.printable(text))")
    }
  }

  // MARK: - What is said

  private func tell(_ told: [(LoggedWrite, Outcome)]) throws {
    var text = ""
    for (write, outcome) in told {
      if isJSON {
        text += JSONText.object([
          JSONText.member("key", write.key), ("seq", "\(write.sequence)"),
          ("outcome", JSONText.string(outcome.rawValue)),
        ])
      } else {
        text += "\(DivergedText.quoted(write.key)): \(outcome.text)"
      }
      text += "\n"
    }
    try Output.write(text.utf8)
  }

  private func conclude() throws {
    if isJSON {
      var members = Outcome.allCases.map { ($0.rawValue, "\(counts[$0, default: 0])") }
      members.append(("not_keys", "\(others)"))
      return try Output.writeLine(JSONText.object(members))
    }
    let kept = counts[.since, default: 0] + counts[.unknown, default: 0]
    var line = "\(counts[.put, default: 0]) written back, \(counts[.deleted, default: 0]) deleted, "
    let same = counts[.absent, default: 0] + counts[.present, default: 0]
    line += "\(same) already so, \(kept) not written back, "
    line += "\(counts[.expired, default: 0]) expired"
    if others > 0 { line += "; \(others) purges and handoffs are not written back" }
    try Output.writeLine(line)
  }
}

/// Which of some keys the leader's log has written behind a fork; read when it is first needed.
private struct KeysSince {
  let fork: UInt64
  let keys: Set<[UInt8]>
  var counts: [LostWriteReplay.Outcome: Int] = [:]
  private var found: Set<[UInt8]>?
  private var isKnown = true
  private var isAll = false

  init(fork: UInt64, keys: Set<[UInt8]>) {
    self.fork = fork
    self.keys = keys
  }

  /// - Returns: nil when the log does not go back that far.
  mutating func contains(
    _ key: [UInt8], _ client: NodeClient, _ address: NodeAddress
  ) async throws -> Bool? {
    if found == nil {
      var written: Set<[UInt8]> = []
      var isAll = false
      isKnown = try await LostWrites.forEach(logOf: client, address, from: fork + 1) { write in
        if write.key.isEmpty {
          isAll = true
        } else if keys.contains(write.key) {
          written.insert(write.key)
        }
      }
      found = written
      self.isAll = isAll
    }
    // A purge may have been what removed it.
    return isKnown ? isAll || found!.contains(key) : nil
  }
}
