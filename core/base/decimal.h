/* Numbers shown with few digits, never on the wrong side: what is shown of an upper bound is no less, of a lower one no
 * more. The functions give the double next to v that "%.<digits>g" (or "%.<decimals>f") prints as it is, so that any text
 * made of it with as many digits reads back as what they returned. Not finite: v itself. */
#ifndef LIP_BASE_DECIMAL_H
#define LIP_BASE_DECIMAL_H

/* The least number of 1 to 15 significant digits that is >= v, and the largest that is <= v; INFINITY beyond the doubles. */
double lip_digits_up(double v, int digits);
double lip_digits_down(double v, int digits);
/* The same of 0 to 15 digits behind the point. */
double lip_decimals_up(double v, int decimals);
double lip_decimals_down(double v, int decimals);

#endif
