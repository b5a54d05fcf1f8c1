import ArgumentParser
import Client
import Engine
import NIOCore
import WAL

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// A tail as it is listed.
struct ListedTail {
  var name: String
  /// The log's id, 16 hex digits.
  var origin: String
  /// The last sequence number that both histories have, and its epoch.
  var fork: UInt64
  var epoch: UInt64
  var last: UInt64
  /// Puts and deletes in it.
  var records: UInt64
}

/// Where lost writes are read: a data directory, or a node that has one.
enum LostWrites {
  case directory(SavedTails)
  case node(NodeAddress, NodeClient)

  /// - Throws: an exit code, when there is no such directory; the reason was said then.
  static func directory(_ path: String) throws -> LostWrites {
    let isThere = try logged { () throws(WALError) in
      do throws(WALError) {
        return try SystemFileSystem().isDirectory(path)
      } catch {
        guard error.isNotFound else { throw error }
        return false
      }
    }
    guard isThere else { throw Output.failure("\(path): no such data directory") }
    return .directory(SavedTails(path))
  }

  /// The tails, oldest fork first, and the names of what was put away without a known fork.
  func tails() async throws -> (tails: [ListedTail], others: [String]) {
    switch self {
    case .directory(let saved):
      let found = try logged { () throws(WALError) in try saved.list() }
      let tails = found.tails.map { place in
        ListedTail(
          name: place.name, origin: hexadecimal(place.tail.origin),
          fork: place.tail.fork.sequence, epoch: place.tail.fork.epoch.number,
          last: place.tail.lastSequence, records: place.tail.writes)
      }
      return (tails, found.others)
    case .node(let address, let client):
      let answer = try await Self.ask(client, address, "/admin/diverged")
      let said = try Self.json(answer.body.readableBytesView, address)
      let tails = try (said["tails"]?.elements ?? []).map { try Self.tail($0, address) }
      return (tails, (said["others"]?.elements ?? []).compactMap(\.string))
    }
  }

  /// Hands over the writes of a tail, a page at a time.
  func forEach(
    of tail: ListedTail, values: Bool, _ body: (LoggedWrite) async throws -> Void
  ) async throws {
    switch self {
    case .directory(let saved):
      var next: UInt64? = tail.fork + 1
      while let from = next {
        let page = try logged { () throws(WALError) in
          try saved.page(
            of: tail.name, from: from, limits: WritePage.Limits(includesValues: values))
        }
        guard let page else { throw Output.failure("\(tail.name) is not there any more") }
        for write in page.writes { try await body(write) }
        next = page.next
      }
    case .node(let address, let client):
      let target = "/admin/diverged?tail=\(tail.name)&values=\(values)"
      _ = try await Self.forEach(client, address, target, from: tail.fork + 1, body)
    }
  }

  /// Hands over the writes of a node's own log, without values.
  ///
  /// - Returns: false when the log does not go back that far.
  static func forEach(
    logOf client: NodeClient, _ address: NodeAddress, from: UInt64,
    _ body: (LoggedWrite) async throws -> Void
  ) async throws -> Bool {
    try await forEach(client, address, "/admin/diverged?log=current&limit=10000", from: from, body)
  }

  private static func forEach(
    _ client: NodeClient, _ address: NodeAddress, _ target: String, from: UInt64,
    _ body: (LoggedWrite) async throws -> Void
  ) async throws -> Bool {
    var next: UInt64? = from
    while let from = next {
      let answer = try await ask(client, address, "\(target)&from=\(from)", orGone: true)
      if answer.status == 410 { return false }
      for line in answer.body.readableBytesView.split(separator: UInt8(ascii: "\n")) {
        try await body(try write(json(line, address), address))
      }
      next = answer.headers.first(name: "X-KV-Next").flatMap { UInt64($0) }
      if let next, next <= from { throw unknown(address) }
    }
    return true
  }

  // MARK: - Answers

  private static func ask(
    _ client: NodeClient, _ address: NodeAddress, _ target: String, orGone: Bool = false
  ) async throws -> KVResponse {
    let answer: KVResponse
    do throws(KVClientError) {
      answer = try await client.send(KVRequest(.GET, target))
    } catch {
      throw Output.failure(error.description)
    }
    guard answer.status == 200 || orGone && answer.status == 410 else {
      let text = String(decoding: answer.body.readableBytesView.prefix(1_024), as: UTF8.self)
      throw Output.failure("\(address): \(answer.status): \(QuotedText.printable(text))")
    }
    return answer
  }

  private static func unknown(_ address: NodeAddress) -> ExitCode {
    Output.failure("\(address): the answer is not known: is this a node of Shiplog?")
  }

  private static func json(
    _ bytes: some Collection<UInt8>, _ address: NodeAddress
  ) throws -> JSONValue {
    do {
      return try JSONDecoder().decode(JSONValue.self, from: Data(bytes))
    } catch {
      throw unknown(address)
    }
  }

  private static func tail(_ said: JSONValue, _ address: NodeAddress) throws -> ListedTail {
    guard let name = said["name"]?.string, let origin = said["origin"]?.string,
      let fork = said["fork"]?.unsigned, let epoch = said["epoch"]?.unsigned,
      let last = said["last"]?.unsigned, let records = said["records"]?.unsigned,
      name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "&") })
    else { throw unknown(address) }
    return ListedTail(
      name: name, origin: origin, fork: fork, epoch: epoch, last: last, records: records)
  }

  private static func write(_ said: JSONValue, _ address: NodeAddress) throws -> LoggedWrite {
    guard let sequence = said["seq"]?.unsigned, let epoch = said["epoch"]?.unsigned,
      let node = said["epoch_node"]?.string.flatMap({ UInt64($0, radix: 16) }),
      let time = said["time"]?.unsigned,
      let kind = said["type"]?.string.flatMap({ LoggedWrite.Kind(rawValue: $0) }),
      let size = said["value_size"]?.unsigned
    else { throw unknown(address) }
    return LoggedWrite(
      sequence: sequence, epoch: Epoch(number: epoch, node: node), timeMilliseconds: time,
      kind: kind, key: said.bytes("key") ?? [], valueBytes: Int(clamping: size),
      value: said.bytes("value"), expiryMilliseconds: said["expiry"]?.unsigned)
  }
}

extension JSONValue {
  fileprivate var unsigned: UInt64? { if case .unsigned(let number) = self { number } else { nil } }

  /// A member that is text, or base64 under a name that says so.
  fileprivate func bytes(_ name: String) -> [UInt8]? {
    if let text = self[name]?.string { return Array(text.utf8) }
    return self[name + "_base64"]?.string.flatMap { Data(base64Encoded: $0) }.map { Array($0) }
  }
}
