import Engine
import Sharding
import Testing
import WAL

@Suite("Whether the owner of keys holds them")
struct PurgeProofTests {
  private static let origin: UInt64 = 0xabc
  private static let digest = Digest(sum: 77)
  private let proof = PurgeProof(
    shard: 2, shardCount: 4, hash: .fnv1,
    content: ShardContent(keys: 10, digest: digest, highestVersion: 100), origin: origin)

  private static func point(_ sequence: UInt64, _ crc: UInt32 = 1) -> LogBase {
    LogBase(
      origin: origin,
      position: LogPosition(epoch: Epoch(number: 1, node: 7), sequence: sequence, crc: crc))
  }

  private static func report(_ change: (inout PurgeProof.Report) -> Void) -> PurgeProof.Report {
    var report = PurgeProof.Report(
      address: "a:1", shard: 2, shardCount: 4, hash: "fnv1-64", isLeading: true, origin: origin,
      confirmed: 500)
    change(&report)
    return report
  }

  private func refusal(_ change: (inout PurgeProof.Report) -> Void) -> String? {
    switch proof.judge(Self.report(change)) {
    case .holds: nil
    case .refused(let reason): reason
    }
  }

  @Test("is shown by a point at or behind the highest version, in the log or the note")
  func points() {
    for evidence in HistoryEvidence.allCases {
      for sequence: UInt64 in [99, 100, 101, 400] {
        let isProof = (evidence == .log || evidence == .note) && sequence >= 100
        #expect((refusal { $0.points = [(Self.point(sequence), evidence)] } == nil) == isProof)
        #expect((refusal { $0.start = (Self.point(sequence), evidence) } == nil) == isProof)
      }
    }
    // One of several will do.
    #expect(
      refusal {
        $0.points = [(Self.point(100), .unknown), (Self.point(200), .absent)]
        $0.start = (Self.point(150), .note)
      } == nil)
  }

  @Test("is shown by the same keys and versions, in an epoch that both have")
  func contents() {
    let same = proof.content
    for evidence in HistoryEvidence.allCases {
      let counts = evidence == .log || evidence == .note || evidence == .epochs
      #expect((refusal { $0.content = (same, evidence) } == nil) == counts)
    }
    for other in [
      ShardContent(keys: 9, digest: Self.digest, highestVersion: 0),
      ShardContent(keys: 10, digest: Digest(sum: 78), highestVersion: 0), ShardContent(),
    ] {
      #expect(refusal { $0.content = (other, .epochs) } != nil)
    }
  }

  @Test("is not shown by anything of another log, another shard, or a node that does not lead")
  func obstacles() {
    let all: (inout PurgeProof.Report) -> Void = {
      $0.points = [(Self.point(100), .log)]
      $0.start = (Self.point(100), .note)
      $0.content = (ShardContent(keys: 10, digest: Self.digest, highestVersion: 0), .epochs)
    }
    #expect(refusal(all) == nil)
    let changes: [(String, (inout PurgeProof.Report) -> Void)] = [
      ("another one than this node's", { $0.origin = 0xabd }),
      ("is of shard 3 of 4 (fnv1-64), not 2 of 4", { $0.shard = 3 }),
      ("is of shard 2 of 8 (fnv1-64), not 2 of 4", { $0.shardCount = 8 }),
      ("(fnv1-64-mix)", { $0.hash = "fnv1-64-mix" }),
      ("does not lead", { $0.isLeading = false }),
      ("its write quorum has its log up to 99", { $0.confirmed = 99 }),
    ]
    for (words, change) in changes {
      let said = refusal {
        all(&$0)
        change(&$0)
      }
      #expect(said?.contains(words) == true, "\(said ?? "it holds")")
      // Only what the quorum has not confirmed yet it may confirm.
      #expect(proof.isRelated(Self.report(change)) == words.hasPrefix("its write quorum"))
    }
    #expect(
      refusal {
        $0.confirmed = 100; $0.points = [(Self.point(100), .log)]
      } == nil)
  }

  @Test("is said not to be, or not to be known")
  func words() {
    let absent = refusal { $0.points = [(Self.point(100), .absent)] }
    #expect(absent?.contains("does not contain that of this node up to 100") == true)
    let unknown = refusal { $0.points = [(Self.point(100), .unknown)] }
    #expect(unknown?.contains("does not show that it holds them") == true)
    #expect(refusal { _ in }?.contains("does not show") == true)
  }
}
