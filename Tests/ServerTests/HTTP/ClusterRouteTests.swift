import Foundation
import Testing

@Suite struct ClusterRouteTests {
  @Test(arguments: ConfiguredLane.allCases)
  func theStatusNamesTheNodeAndHowFarItIs(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.syncPolicy = .always }) { node in
      let client = try node.connect()
      let written = try await client.ask("PUT", "/kv/a", body: "1")
      let version = try #require(written["x-kv-version"].flatMap { Int($0) })
      let answer = try await client.ask("GET", "/status")
      #expect(answer.status == 200 && answer["content-type"] == "application/json")
      let status = try #require(
        try JSONSerialization.jsonObject(with: Data(answer.body)) as? [String: Any])
      #expect(status["node"] as? String == "node" && status["role"] as? String == "leader")
      #expect(status["keys"] as? Int == 1 && status["epoch"] as? Int == 1)
      for stage in ["appended", "durable", "confirmed", "applied"] {
        let sequence = try #require((status["sequence"] as? [String: Int])?[stage])
        #expect(sequence >= version, "\(stage)")
      }
      #expect((status["wal"] as? [String: Int])?["oldest_sequence"] == 1)
      for name in [
        "shard", "epoch_node", "origin", "digest", "snapshot", "replicas", "uptime_seconds",
        "version",
      ] {
        #expect(status[name] != nil, "\(name)")
      }
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aNodeThatListensIsHealthyAndReady(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.syncPolicy = .always }) { node in
      for path in ["/health", "/healthz"] {
        let answer = try await node.ask("GET", path)
        #expect(answer.status == 200 && answer.text == "ok")
      }
      try await #expect(node.ask("GET", "/ready").status == 200)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func theMetricsMoveWithTheRequests(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.syncPolicy = .always }) { node in
      let client = try node.connect()
      let before = try await metrics(client)
      #expect(before[#"shiplog_requests_total{route="kv_put",status="201"}"#] == nil)
      for key in ["a", "b", "c"] { _ = try await client.ask("PUT", "/kv/" + key, body: "v") }
      _ = try await client.ask("GET", "/get?key=none")
      let after = try await metrics(client)
      #expect(after[#"shiplog_requests_total{route="kv_put",status="201"}"#] == 3)
      #expect(after[#"shiplog_requests_total{route="get",status="404"}"#] == 1)
      #expect(after[#"shiplog_requests_total{route="metrics",status="200"}"#] == 1)
      #expect(after[#"shiplog_request_seconds_count{route="kv_put"}"#] == 3)
      #expect(after["shiplog_keys"] == 3 && after["shiplog_epoch"] == 1)
      #expect(after["shiplog_connections"] == 1)
      #expect(after["shiplog_connections_accepted_total"] == 1)
      for stage in ["appended", "durable", "applied"] {
        let name = #"shiplog_sequence{stage="\#(stage)"}"#
        #expect(try #require(after[name]) >= #require(before[name]) + 3, "\(stage)")
      }
      for stage in ["gather", "write", "apply"] {
        #expect(after[#"shiplog_commit_stage_seconds_count{stage="\#(stage)"}"#] == 3)
      }
      #expect(after["shiplog_frame_records_sum"] == 3)
      for name in [
        "shiplog_memory_bytes", "shiplog_in_flight_bytes", "shiplog_body_bytes",
        "shiplog_answer_bytes", "process_open_fds",
      ] {
        #expect(after[name] != nil, "\(name)")
      }
    }
  }

  /// The samples by what stands before them.
  private func metrics(_ client: ClientConnection) async throws -> [String: Double] {
    let answer = try await client.ask("GET", "/metrics")
    #expect(answer["content-type"] == "text/plain; version=0.0.4; charset=utf-8")
    var samples: [String: Double] = [:]
    for line in answer.text.split(separator: "\n") where !line.hasPrefix("#") {
      let end = try #require(line.lastIndex(of: " "))
      samples[String(line[..<end])] = Double(line[line.index(after: end)...])
    }
    return samples
  }
}
