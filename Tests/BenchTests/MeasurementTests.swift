import Bench
import Testing

struct MeasurementTests {
  @Test("A known sample has its known figures")
  func knownSample() {
    var record = DurationRecord()
    // 1 to 10,000 µs, in another order.
    for index in UInt64(0)..<10_000 { record.record((index * 7_919 % 10_000 + 1) * 1_000) }
    #expect(record.count == 10_000)
    #expect(record.minimum == 1_000)
    #expect(record.maximum == 10_000_000)
    #expect(record.mean == 5_000_500)
    for percent in [50, 95, 99, 99.9] {
      let expected = percent * 100_000
      let value = Double(record.percentile(percent))
      #expect(value >= expected && value <= expected * 1.001)
    }
    #expect(record.percentile(100) == 10_000_000)
  }

  @Test("Nothing recorded is zeros, and one value is all figures")
  func fewValues() {
    var record = DurationRecord()
    #expect((record.minimum, record.maximum, record.percentile(99)) == (0, 0, 0))
    #expect(record.mean == 0)
    record.record(123_456_789)
    #expect((record.minimum, record.maximum) == (123_456_789, 123_456_789))
    #expect(record.mean == 123_456_789)
    #expect(record.percentile(50) == 123_456_789 && record.percentile(99.9) == 123_456_789)
  }

  @Test("Records of several threads make one")
  func adding() {
    var (all, one, other) = (DurationRecord(), DurationRecord(seed: 1), DurationRecord(seed: 2))
    for value in UInt64(1)...5_000 {
      all.record(value * 977)
      if value.isMultiple(of: 3) { one.record(value * 977) } else { other.record(value * 977) }
    }
    one.add(other)
    #expect(one.count == all.count && one.mean == all.mean)
    #expect(one.minimum == all.minimum && one.maximum == all.maximum)
    for percent in [1, 50, 99, 99.9] { #expect(one.percentile(percent) == all.percentile(percent)) }
  }

  @Test("A day and more is counted, and its maximum is exact")
  func longDurations() {
    var record = DurationRecord()
    record.record(200_000_000_000_000)
    #expect(record.maximum == 200_000_000_000_000)
    #expect(record.histogram.totalCount == 1)
  }

  @Test("A sample is bounded, has nothing twice, and favours nobody")
  func sampling() {
    var sample = SampleReservoir(countMax: 1_000, seed: 1)
    for value in UInt64(0)..<500 { sample.offer(value) }
    #expect(sample.values.sorted() == Array(0..<500))
    for value in UInt64(500)..<100_000 { sample.offer(value) }
    #expect(sample.values.count == 1_000 && Set(sample.values).count == 1_000)
    let early = sample.values.count { $0 < 50_000 }
    #expect((430...570).contains(early))
    // One of a stream nine times as long leaves a tenth to this one.
    var other = SampleReservoir(countMax: 1_000, seed: 2)
    for value in UInt64(100_000)..<1_000_000 { other.offer(value) }
    sample.add(other)
    #expect(sample.values.count == 1_000)
    #expect((60...140).contains(sample.values.count { $0 < 100_000 }))
  }

  @Test("A timeline loses no count when it has to become coarser")
  func timeline() {
    var timeline = Timeline(intervalNanoseconds: 100)
    for index in UInt64(0)..<1_000_000 {
      timeline.record(index.isMultiple(of: 4) ? .write : .read, at: index, latency: index)
    }
    #expect(timeline.points.count <= Timeline.pointsMax)
    #expect(timeline.intervalNanoseconds == 1_600)
    #expect(timeline.points.reduce(0) { $0 + $1.reads } == 750_000)
    #expect(timeline.points.reduce(0) { $0 + $1.writes } == 250_000)
    #expect(timeline.points[0].reads == 1_200 && timeline.points[0].latencyMax == 1_599)
    var fine = Timeline(intervalNanoseconds: 100)
    fine.record(.failure, at: 1_650, latency: 9)
    fine.add(timeline)
    #expect(fine.intervalNanoseconds == 1_600 && fine.points[1].failures == 1)
    #expect(fine.points.reduce(0) { $0 + $1.reads } == 750_000)
  }

  @Test("What a client has done has its smallest, mean and largest")
  func clientTotals() {
    var totals = ClientTotals()
    #expect(totals.mean == 0)
    for value in [UInt64(30), 10, 50] { totals.record(value) }
    #expect((totals.count, totals.minimum, totals.mean, totals.maximum) == (3, 10, 30, 50))
  }
}
