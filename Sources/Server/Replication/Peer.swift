import Client
import Engine
import NIOCore
import WAL

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Another node of the shard, as it is asked before there is a stream.
struct Peer {
  let address: NodeAddress
  let pool: KVPool

  /// What `/status` says, as far as a copy wants to know it.
  struct Status: Decodable, Sendable {
    struct Log: Decodable, Sendable { let oldest_sequence: UInt64 }
    struct Snapshot: Decodable, Sendable { let sequence: UInt64 }
    struct Sequence: Decodable, Sendable {
      let durable: UInt64
      let applied: UInt64
    }

    struct Shard: Decodable, Sendable {
      let index: Int
      let count: Int
    }

    let role: String
    let shard: Shard?
    let epoch: UInt64
    let epoch_node: String
    let origin: String
    let sequence: Sequence
    let wal: Log
    let snapshot: Snapshot
    let promised: String?
    let taking_over: Bool?
    let lacks: Bool?

    /// The log's id; nil when it cannot be read.
    var originNumber: UInt64? { UInt64(origin, radix: 16) }
    var epochOfLog: Epoch? {
      UInt64(epoch_node, radix: 16).map { Epoch(number: epoch, node: $0) }
    }

    /// What that says of who leads.
    func report(_ address: NodeAddress) throws(Unusable) -> Succession.Report {
      guard let origin = originNumber, let epoch = epochOfLog else {
        throw Unusable(description: "\(address) has a status that is not known")
      }
      return Succession.Report(
        address: "\(address)", node: NodeNumber.of("\(address)"), isLeading: role == "leader",
        standing: sequence.applied == 0
          ? nil
          : Succession.Standing(
            origin: origin, epoch: epoch, sequence: min(sequence.durable, sequence.applied)),
        mayLack: lacks ?? false, promised: promised.flatMap { Epoch($0[...]) },
        isTakingOver: taking_over ?? false)
    }
  }

  /// What a node says that serves nothing yet.
  private struct DoorStatus: Decodable {
    struct Sequence: Decodable { let durable: UInt64 }

    let state: String
    let empty: Bool?
    let epoch: UInt64?
    let epoch_node: String?
    let origin: String?
    let sequence: Sequence?
  }

  /// - Returns: nil as long as that node does not know itself.
  static func doorReport(of answer: KVResponse, _ address: NodeAddress) -> MemberSurvey.Answer? {
    guard
      let said = try? JSONDecoder().decode(
        DoorStatus.self, from: Data(answer.body.readableBytesView))
    else { return nil }
    var standing: Succession.Standing?
    if let origin = said.origin.flatMap({ UInt64($0, radix: 16) }), let number = said.epoch,
      let node = said.epoch_node.flatMap({ UInt64($0, radix: 16) }), let sequence = said.sequence
    {
      standing = Succession.Standing(
        origin: origin, epoch: Epoch(number: number, node: node), sequence: sequence.durable)
    } else if said.state != "copying", said.empty != true {
      return nil
    }
    return .report(
      Succession.Report(
        address: "\(address)", node: NodeNumber.of("\(address)"), isLeading: false,
        standing: standing))
  }

  struct Unusable: Error, CustomStringConvertible {
    let description: String
  }

  /// - Throws: `KVClientError` when it does not answer, `Unusable` when it answers something else.
  func status(seconds: Int64 = 2) async throws -> Status {
    let answer = try await ask(KVRequest(.GET, "/status"), seconds: seconds)
    guard answer.status == 200 else {
      throw Unusable(description: "\(address) answers \(answer.status)")
    }
    return try status(of: answer)
  }

  /// Reads the answer of a node that serves.
  func status(of answer: KVResponse) throws(Unusable) -> Status {
    do {
      return try JSONDecoder().decode(Status.self, from: Data(answer.body.readableBytesView))
    } catch {
      throw Unusable(description: "\(address) has a status that is not known: is it a node?")
    }
  }

  func ask(_ request: KVRequest, seconds: Int64) async throws -> KVResponse {
    try await pool.execute(request, on: address, deadline: .now() + .seconds(seconds)).get()
  }
}

extension StreamRefusal {
  private struct Body: Decodable {
    let error: String?
    let origin: String?
    let oldest: UInt64?
    let epochs: [[Part]]?
  }

  /// A part of an epoch's entry: number, node, first sequence number.
  private enum Part: Decodable {
    case number(UInt64)
    case text(String)

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if let number = try? container.decode(UInt64.self) {
        self = .number(number)
      } else {
        self = .text(try container.decode(String.self))
      }
    }
  }

  init(_ status: Int, _ body: ByteBuffer) {
    guard
      let said = try? JSONDecoder().decode(Body.self, from: Data(body.readableBytesView))
    else {
      self.init(status: status, reason: "the leader answers \(status)")
      return
    }
    var epochs: [EpochHistory.Start] = []
    for entry in said.epochs ?? [] {
      guard entry.count == 3, case .number(let number) = entry[0],
        case .text(let text) = entry[1], let node = UInt64(text, radix: 16),
        case .number(let first) = entry[2]
      else {
        // A list with a hole says nothing of where an epoch ends.
        epochs = []
        continue
      }
      epochs.append(
        EpochHistory.Start(epoch: Epoch(number: number, node: node), firstSequence: first))
    }
    self.init(
      status: status, reason: said.error ?? "the leader answers \(status)",
      lastEpoch: epochs.last?.epoch, oldest: said.oldest,
      origin: said.origin.flatMap { UInt64($0, radix: 16) }, epochs: epochs)
  }
}
