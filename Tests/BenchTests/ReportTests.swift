import Bench
import Client
import Foundation
import Testing

struct ReportTests {
  /// Of two clients in two seconds: reads of 1 to 10 ms and one write of 2 ms.
  private func result() throws -> BenchResult {
    var parameters = BenchParameters(
      targets: [NodeAddress(host: "h", port: 1)], mix: WorkloadMix(writeRatio: 0.5))
    parameters.durationSeconds = 2
    parameters.checksStaleness = true
    let node = NodeDescription(address: parameters.targets[0])
    var measured = Measurements()
    measured.clientReads = [ClientTotals(), ClientTotals()]
    measured.clientWrites = measured.clientReads
    for index in UInt64(1)...10 {
      measured.reads.record(index * 1_000_000)
      measured.clientReads[Int(index % 2)].record(index * 1_000_000)
      measured.timeline.record(.read, at: index * 150_000_000, latency: index * 1_000_000)
    }
    measured.writes.record(2_000_000)
    measured.clientWrites[1].record(2_000_000)
    measured.intervals.record(500_000_000)
    (measured.inTimeReads, measured.inTimeWrites) = (10, 1)
    (measured.judgedReads, measured.staleReads, measured.concurrentReads) = (10, 1, 2)
    measured.siblingReads = 3
    measured.failures.record(5_000_000)
    measured.failureCounts = [.status(503): 1]
    measured.windowNanoseconds = 2_000_000_000
    (measured.processorNanoseconds, measured.requestsOfProcessorTime) = (1_000_000, 10)
    let targets = try TargetMap([node], readFrom: .leader, hasWrites: true)
    return BenchResult(
      parameters: parameters, targets: targets, descriptions: [node], loading: nil,
      measured: measured, startSeconds: 1_000, isInterrupted: false)
  }

  @Test("The text says what was measured")
  func text() throws {
    let text = TextReport(try result()).text
    let lines = text.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
    #expect(lines.contains("count a second mean P50 P95 P99 P99.9 max"))
    #expect(lines.contains { $0.hasPrefix("reads 10 5.0 5.50 ms 5.00 ms 10.0 ms") })
    #expect(lines.contains { $0.hasPrefix("writes 1 0.5 2.00 ms") })
    #expect(lines.contains { $0.hasPrefix("failures 1 (status 503 1)") })
    #expect(
      lines.contains(
        "stale reads 1 of 10 (10.000 %); apart from them 2 that a write of the key overlapped"))
    #expect(lines.contains("siblings 3 reads found more than one version"))
    #expect(lines.contains { $0.hasPrefix("read-write intervals 1 reads") })
    #expect(lines.contains { $0.hasPrefix("client 100 µs of processor time a request") })
  }

  @Test("The classic text has a line for each worker, in which min ≤ mean ≤ max, and the total")
  func classic() throws {
    let text = ClassicReport(try result()).text
    #expect(
      text == """
        func write- avg: 2ms, min: 2ms, max: 2ms, QPS: 0.5
        Total QPS= 0.5, set 1 keys
        func read- avg: 6ms, min: 2ms, max: 10ms, QPS: 2.5
        func read- avg: 5ms, min: 1ms, max: 9ms, QPS: 2.5
        Total QPS= 5.0, read 10 keys

        """)
  }

  @Test("The JSON has what the contract names, and no array is null")
  func json() throws {
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(JSONReport(try result()).text.utf8))
        as? [String: Any])
    #expect(object["version"] as? Int == 1)
    #expect(object["mode"] as? String == "leader-follower")
    let reads = try #require(object["read_latencies"] as? [Double])
    #expect(reads.sorted() == (1...10).map { Double($0) / 1_000 })
    #expect(object["write_latencies"] as? [Double] == [0.002])
    #expect(object["read_write_intervals"] as? [Double] == [0.5])
    #expect(object["scan_latencies"] as? [Double] == [])
    let stale = try #require(object["stale_reads"] as? [String: Any])
    #expect(stale["stale"] as? Int == 1 && stale["concurrent"] as? Int == 2)
    #expect(stale["percent"] as? Double == 10)
    let statistics = try #require(object["statistics"] as? [String: Any])
    #expect(statistics["siblings"] as? Int == 3)
    let summary = try #require(statistics["reads"] as? [String: Any])
    #expect(summary["count"] as? Int == 10 && summary["max"] as? Double == 0.01)
    let buckets = try #require(summary["buckets"] as? [[Double]])
    #expect(buckets.reduce(0) { $0 + $1[2] } == 10)
    for (bucket, value) in zip(buckets, 1...10) {
      #expect(bucket[0] <= Double(value) / 1_000 * 1.001)
      #expect(bucket[1] >= Double(value) / 1_000 * 0.999)
      #expect(abs(bucket[1] / bucket[0] - 1.05) < 0.000_1)
    }
    let distribution = try #require(summary["distribution"] as? [[Double]])
    #expect(distribution.last == [0.01, 1])
    for name in ["scans", "read_modify_writes"] {
      let empty = try #require(statistics[name] as? [String: Any])
      #expect((empty["buckets"] as? [Any])?.isEmpty == true)
      #expect((empty["distribution"] as? [Any])?.isEmpty == true)
    }
    let timeline = try #require(object["throughput_over_time"] as? [String: Any])
    let points = try #require(timeline["points"] as? [[String: Any]])
    #expect(points.reduce(0) { $0 + ($1["reads"] as? Int ?? 0) } == 10)
    let failures = try #require(object["failures"] as? [String: Any])
    #expect(failures["by_kind"] as? [String: Int] == ["status 503": 1])
  }

  @Test("A run in which nothing happened has all its reports")
  func empty() throws {
    var result = try result()
    result.measured = Measurements()
    #expect(TextReport(result).text.contains("reads"))
    #expect(ClassicReport(result).text.isEmpty)
    _ = try JSONSerialization.jsonObject(with: Data(JSONReport(result).text.utf8))
    #expect(result.failure == "nothing was asked for: the run was too short")
  }

  @Test(
    "Durations are written as Go writes them",
    arguments: [
      (0, "0s"), (15, "15ns"), (1_500, "1.5µs"), (12_345_678, "12.345678ms"),
      (1_000_000_000, "1s"), (62_500_000_000, "1m2.5s"), (3_600_000_000_000, "1h0m0s"),
      (1_000_001_000, "1.000001s"),
    ] as [(UInt64, String)])
  func goDurations(nanoseconds: UInt64, text: String) {
    #expect(GoDuration.text(nanoseconds) == text)
  }

  @Test("Numbers are written for people")
  func numbers() {
    #expect(FixedText.count(0) == "0" && FixedText.count(1_234_567) == "1,234,567")
    #expect(FixedText.fixed(0.0456, places: 2) == "0.05")
    #expect(FixedText.fixed(12_345.678, places: 1) == "12,345.7")
    #expect(FixedText.trimmed(2.5) == "2.5" && FixedText.trimmed(200) == "200")
    #expect(FixedText.duration(950) == "0.95 µs" && FixedText.duration(12_340_000) == "12.3 ms")
    #expect(FixedText.duration(2_000_000_000) == "2.00 s")
  }

  @Test("The line of a run says how far it is")
  func runLine() {
    var parameters = BenchParameters(
      targets: [NodeAddress(host: "h", port: 1)], mix: WorkloadMix(writeRatio: 0))
    parameters.durationSeconds = 30
    var line = RunLine(parameters)
    let first = line.text(seconds: 0.5, answered: 1_000, failed: 0, behindSeconds: 0)
    #expect(first == "warming up  2,000/s")
    #expect(
      line.text(seconds: 3, answered: 11_000, failed: 7, behindSeconds: 0.5)
        == "2.0 of 30 s  4,000/s  7 failed  0.50 s behind")
  }
}
