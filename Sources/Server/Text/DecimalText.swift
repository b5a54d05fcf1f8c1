import NIOCore

/// Whole numbers in decimal.
package enum DecimalText {
  static let digitsMax = 20

  package static func write(_ number: UInt64, into buffer: inout ByteBuffer) {
    buffer.write(atMost: digitsMax) { write(number, into: &$0) }
  }

  @inline(__always)
  static func write(_ number: UInt64, into output: inout ByteOutput) {
    let digits = digitCount(number)
    output.append(count: digits) { memory in
      var rest = number
      for index in (0..<digits).reversed() {
        let (quotient, digit) = rest.quotientAndRemainder(dividingBy: 10)
        memory[index] = 0x30 + UInt8(truncatingIfNeeded: digit)
        rest = quotient
      }
    }
  }

  /// The number that the digits stand for. nil when there are none, when anything but a digit is
  /// among them (a sign or a blank, too), and when it is above `UInt64.max`.
  package static func parse(_ digits: UnsafeRawBufferPointer) -> UInt64? {
    guard !digits.isEmpty else { return nil }
    var number: UInt64 = 0
    for byte in digits {
      let digit = byte &- 0x30
      let (tens, overflowed) = number.multipliedReportingOverflow(by: 10)
      let (sum, carried) = tens.addingReportingOverflow(UInt64(digit))
      guard digit < 10, !overflowed, !carried else { return nil }
      number = sum
    }
    return number
  }

  @inline(__always)
  private static func digitCount(_ number: UInt64) -> Int {
    var (digits, bound): (Int, UInt64) = (1, 10)
    while number >= bound, digits < digitsMax {
      digits += 1
      bound &*= 10
    }
    return digits
  }
}
