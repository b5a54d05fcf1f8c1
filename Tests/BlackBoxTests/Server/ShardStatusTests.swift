import Foundation
import Testing

extension NodeProcessTests {
  @Suite("kv status of a shard with replicas") struct ShardStatusTests {
    private let directory: TemporaryDirectory
    private let leader: StatusPage
    private let replica: StatusPage
    private let gone = LoopbackAddress.fresh()

    init() throws {
      directory = try TemporaryDirectory()
      let (first, second) = (LoopbackAddress.fresh(), LoopbackAddress.fresh())
      leader = try StatusPage(
        at: first,
        """
        {"node":"\(first)","role":"leader","epoch":3,"sequence":{"applied":120},"keys":7,
         "snapshot":{"sequence":100,"bytes":9},"uptime_seconds":3725.5,"replicas":[
          {"id":"\(second)","address":"\(second)","durable":118,"lag_bytes":99,"lag_records":2,
           "lag_seconds":0.44,"state":"streaming"},
          {"id":"\(gone)","address":"\(gone)","durable":null,"lag_bytes":null,"lag_records":null,
           "lag_seconds":null,"state":"offline"},
          {"id":"backup-1","durable":50,"lag_records":0,"state":"copying"}]}
        """)
      replica = try StatusPage(
        at: second,
        """
        {"node":"\(second)","role":"replica","epoch":3,"sequence":{"applied":118},"keys":6,
         "snapshot":{"sequence":0},"uptime_seconds":12.9,"replicas":[],
         "leader":{"address":"\(first)"}}
        """)
    }

    private func status(_ flags: String..., of address: LoopbackAddress) async throws -> Outcome {
      try await Executable.kv.run(
        ["status", "--http-addr", "\(address)"] + flags, in: directory)
    }

    @Test("is a row a node, whichever is asked; one that does not answer, too")
    func table() async throws {
      for address in [leader.address, replica.address] {
        let outcome = try await status(of: address)
        #expect(outcome.status == 0, "\(outcome.errors)")
        let rows = outcome.lines.map { $0.split(separator: " ").joined(separator: " ") }
        try #require(rows.count == 6, "\(outcome.output)")
        #expect(rows[0] == "node role state epoch applied lag keys snapshot uptime")
        #expect(rows[1] == "\(leader.address) leader ready 3 120 - 7 100 1 h 2 min")
        #expect(
          rows[2] == "\(replica.address) replica streaming 3 118 2 records, 0.4 s 6 0 0 min 12 s")
        #expect(rows[3] == "\(gone) replica unreachable - - unknown - - -")
        #expect(rows[4] == "backup-1 replica copying - - 0 - - -")
        #expect(rows[5].hasPrefix("\(gone): ") && rows[5].contains("refused"))
        #expect(!outcome.output.contains("\u{1B}"), "colours are for people")
      }
    }

    @Test("is JSON for a program")
    func json() async throws {
      let outcome = try await status("--json", of: replica.address)
      let object = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8))
      let nodes = try #require((object as? [String: Any])?["nodes"] as? [[String: Any]])
      #expect(
        nodes.map { $0["state"] as? String } == ["ready", "streaming", "unreachable", "copying"])
      #expect(nodes[1]["lag_seconds"] as? Double == 0.44 && nodes[1]["applied"] as? Int == 118)
      #expect(nodes[2]["lag_records"] is NSNull && nodes[2]["error"] is String)
      #expect(nodes[3]["address"] is NSNull && nodes[0]["error"] is NSNull)
    }

    @Test("is of the node that is asked alone with --node")
    func alone() async throws {
      let outcome = try await status("--node", of: replica.address)
      #expect(outcome.lines.first?.hasPrefix("node ") == true, "\(outcome.output)")
      #expect(outcome.lines.first?.hasSuffix(" \(replica.address)") == true)
      let json = try await status("--node", "--json", of: replica.address)
      #expect(json.output.hasPrefix("{\"node\":"))
    }

    @Test("is told of a leader that does not answer by the replica that is asked")
    func leaderGone() async throws {
      let lone = try StatusPage(
        #"{"node":"me","role":"replica","keys":1,"replicas":[],"leader":{"address":"\#(gone)"}}"#)
      let outcome = try await status(of: lone.address)
      #expect(outcome.status == 0)
      let rows = outcome.lines.map { $0.split(separator: " ").joined(separator: " ") }
      #expect(rows[1] == "\(gone) leader unreachable - - - - - -")
      #expect(rows[2] == "\(lone.address) replica unknown - - unknown 1 - -")
    }
  }
}
