import NIOCore

/// One series: a name and its labels, which stand in front of each of its samples.
struct Series {
  let name: MetricName
  let labels: MetricLabels

  /// Writes one sample, a line.
  ///
  /// - Parameters:
  ///   - suffix: what a histogram puts behind the name.
  ///   - bound: the upper bound of a histogram's bucket.
  func write(
    _ value: some SampleValue, suffix: StaticString = "", bound: Double? = nil,
    into buffer: inout ByteBuffer
  ) {
    buffer.writeString(name.text)
    buffer.writeStaticString(suffix)
    if !labels.bytes.isEmpty || bound != nil {
      buffer.writeStaticString("{")
      buffer.writeBytes(labels.bytes)
      if let bound {
        buffer.writeStaticString(labels.bytes.isEmpty ? "le=\"" : ",le=\"")
        bound.write(into: &buffer)
        buffer.writeStaticString("\"")
      }
      buffer.writeStaticString("}")
    }
    buffer.writeStaticString(" ")
    value.write(into: &buffer)
    buffer.writeStaticString("\n")
  }
}

/// A number as the text format writes it.
protocol SampleValue: Sendable {
  func write(into buffer: inout ByteBuffer)
}

extension UInt64: SampleValue {
  func write(into buffer: inout ByteBuffer) { DecimalText.write(self, into: &buffer) }
}

extension Double: SampleValue {
  /// The shortest digits that give the same number again, a whole one without `.0`.
  func write(into buffer: inout ByteBuffer) {
    if isNaN {
      buffer.writeStaticString("NaN")
    } else if isInfinite {
      buffer.writeStaticString(self < 0 ? "-Inf" : "+Inf")
    } else {
      let digits = description
      buffer.writeSubstring(digits.hasSuffix(".0") ? digits.dropLast(2) : digits[...])
    }
  }
}
